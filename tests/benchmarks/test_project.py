"""The projects in which the benchmark runs stages."""

import yaml

from benchmarks import project


def test_stages_run_in_the_order_of_the_pipeline(tmp_path, root, monkeypatch):
    ran = []
    monkeypatch.setattr(project, "run", lambda folder, stage, *words: ran.append((stage, *words)))
    (tmp_path / "params.yaml").write_text("data:\n  source: embedded\n", encoding="utf-8")
    project.make(tmp_path)
    entries = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    commands = [tuple(entry["cmd"].split()[3:]) for entry in entries]
    assert len(ran) > 8 and [commands.index(words) for words in ran] == sorted(map(commands.index, ran))
