"""README.md and docs/ agree with the code, the presets and the pipeline; their links and commands: test_pages.py."""

import json
import re
import subprocess
import sys
import tomllib
import types

import pytest
import yaml

from distill.experiments import presets
from distill.methods import registry


def rows(text: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading whose first column is `heading`."""
    table = re.search(rf"(?m)^\| {heading} \|.*\n\|[-|: ]+\n((?:\|.*\n)+)", text)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


@pytest.fixture(scope="module")
def overview(root):
    return (root / "docs/methods.md").read_text()


def test_the_table_says_what_every_method_needs(overview):
    table = {re.search(r"\[`(.*?)`\]\(methods/\1\.md\)", row[0])[1]: row for row in rows(overview, "method")}
    assert sorted(table) == registry.available()
    for name, (_, needs, artifacts, copies, *_) in table.items():
        method = registry.load(name)
        assert set(re.findall("`(logits|cls|hidden|attention|qkv|model)`", needs)) == method.needs, name
        assert re.findall(r"`(\w+)`", artifacts) == list(method.artifacts), name
        assert copies == ("yes" if method.copies else "no"), name


@pytest.mark.parametrize("name", registry.available())
def test_a_method_has_a_page_with_its_parameters(root, name):
    text = (root / f"docs/methods/{name}.md").read_text()
    assert text.startswith(f"# {name}: ")
    assert "*When*" in text
    columns = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    missing = set(registry.load(name).Config.model_fields) - set(re.findall(r"[a-z][a-z0-9_]+", columns))
    assert not missing


def test_every_preset_is_listed(overview):
    listed = set()
    for row in rows(overview, "preset"):
        for name in re.findall(r"`(.*?)`", row[0]):
            several = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
            listed |= {several[1] + part + several[3] for part in several[2].split(",")} if several else {name}
    assert listed == set(presets.names())


FIGURE = r"(?<![\d.])(?:\d\d\.\d{1,2}(?:/\d\d\.\d)?|\.\d{4})(?!\d)"


def figures(name: str) -> dict[str, str]:
    """What a preset's header says was published: label to figure. A part that begins with `students:` names them so."""
    found = {}
    for part in presets.header(name)["published"].split(";"):
        group, _, rest = part.strip().rpartition(": ") if "student" in part else ("", "", part)
        for label, figure in re.findall(rf"((?:\([^)]*\)|[^,:()])+) ({FIGURE})", rest):
            found[f"{group}: {label.strip()}" if group else label.strip()] = figure
    return found


def test_the_overview_has_the_published_figures_of_every_preset(overview):
    listed = {name.strip("`"): published for name, published in rows(overview, "preset with figures")}
    assert listed == {
        name: published for name in presets.names() if re.search(FIGURE, published := presets.header(name)["published"])
    }


def test_the_pages_have_the_published_figures_of_the_presets(root):
    """Tables and sentences of the methods' pages, with the headers' figures put in."""
    pages = {path.stem: " ".join(path.read_text().split()) for path in (root / "docs/methods").glob("*.md")}
    four, two = figures("glue-bert4"), figures("glue-bert2")
    mate, twice, half = figures("glue-distilroberta"), figures("squad_v1-distilbert"), figures("sst2-deberta_v3-half")
    small, nearest = figures("glue-bert_small"), figures("minimax_knn-distilroberta")
    made, drawn = (
        {label.split(": ")[1]: figure for label, figure in half.items() if label.startswith(start)}
        for start in ("student made of teacher layers", "random student")
    )
    freelb = f"fine-tuning {mate['ft']}, FreeLB {mate['FreeLB']}, FreeLB + KD {mate['FreeLB with kd']}, KD {mate['kd']}"
    augmented = mate["TinyBERT's augmentation with kd"]
    expected = {
        "alp": [
            "| | no teacher | `rkd` | PKD | CKD-NO | CKD-PO | ALP-NO | ALP-PO | ALP |",
            f"| 4 layers | {four['ft (no KD)']} | {four['rkd (regular KD)']} | {four['pkd']} |"
            f" {four['ckd without overlap']} | {four['ckd with partial overlap']} |"
            f" {four['alp without overlap']} | {four['alp with partial overlap']} | {four['alp']} |",
            "| | no teacher | `rkd` | PKD-1 | PKD-6 | PKD-12 | CKD | ALP |",
            f"| 2 layers | {two['ft (no KD)']} | {two['rkd (regular KD)']} | {two['pkd-1']} | {two['pkd-6']} |"
            f" {two['pkd-12']} | {two['ckd']} | {two['alp']} |",
        ],
        "annealing": [
            f"from scratch {mate['from scratch']}, vanilla KD {mate['vanilla KD']}, TAKD {mate['TAKD']}, annealing"
            f" {mate['annealing']}; BERT-large → BERT-small: {small['kd']}, {small['takd']} and {small['annealing']}"
        ],
        "combined": ["81.5 on the GLUE leaderboard, where mate has 80.9"],
        "ckd": [
            f"→ 4 layers: {four['ckd without overlap']} (`regular`) and {four['ckd with partial overlap']} (`overlap`),"
            f" → 2 layers: {two['ckd']}, GLUE dev average"
        ],
        "freelb": [f"{freelb}."],
        "hidden": [
            f"DeBERTa-v3-base (0{half['teacher']}) → 6 layers",
            "| start | `ft` | `kd` | `hidden` | `hidden`, `cosine_growth` |",
            f"| teacher's layers | {made['ft']} | {made['kd']} | {made['hidden (all layers)']} (all layers) |"
            f" {made['hidden (cosine_growth, layers 1 to 3)']} (layers 1 to 3) |",
            f"| random | {drawn['ft']} | {drawn['kd']} | {drawn['hidden']} (all layers) |"
            f" {drawn['hidden (cosine_growth)']} (layers 1 to 3) |",
        ],
        "kd": [
            f"BERT-base {twice['teacher (BERT-base)']}, DistilBERT {twice['ft (DistilBERT)']}, with distillation on the"
            f" task {twice['kd']};"
        ],
        "mate": [f"{freelb}, TinyBERT's augmentation + KD {augmented}, MATE-KD {mate['mate']}."],
        "minimax_knn": [
            f"fine-tuning {nearest['ft']}, KD {nearest['kd']}, all 8 neighbours {nearest['knn (8 neighbours)']}, 4 of 8"
            f" {nearest['minimax_knn (4 of 8)']};"
        ],
        "pkd": [
            f"→ 4 and 2 layers (table in [alp](alp.md)): {four['pkd']} and, with the teacher's layer 1, 6 or 12 for the"
            f" student's first, {two['pkd-1']}, {two['pkd-6']} and {two['pkd-12']}, GLUE dev average"
        ],
        "adv": [f"fine-tuning {mate['ft']}, Adv {mate['adv']}, MATE-KD {mate['mate']}."],
        "rkd": [
            f"→ 4 and 2 layers (table in [alp](alp.md)): {four['rkd (regular KD)']} and {two['rkd (regular KD)']}, GLUE"
        ],
        "ted": ["| | `kl_alpha` / `mse_alpha` | official TED repository | reproduction by others |"],
        "tinybert": [
            f"fine-tuning {mate['ft']}, KD {mate['kd']}, KD on TinyBERT's augmented data (here: `kd` in"
            f" `augment.methods`) {augmented}, MATE-KD {mate['mate']}."
        ],
    }
    official, other = (figures(f"squad_v2-deberta_v3{suffix}") for suffix in ("", "-reproduction"))
    weights = {"teacher": "", "`ft`": "", "`kd`": "10 / – ", "`lwd`": "10 / 100 ", "`ted`": "10 / 5000 "}
    for label, pair in weights.items():
        first, second = (column[label.strip("`")] for column in (official, other))
        readme = " (its README: 83.0/85.9)" if label == "`ted`" else ""
        expected["ted"].append(f"| {label} | {pair}| {first}{readme} | {second} |")
    missing = [(page, text) for page, texts in expected.items() for text in texts if text not in pages[page]]
    assert missing == []
    known = {figure for name in presets.names() for figure in re.findall(FIGURE, presets.header(name)["published"])}
    known |= {"81.5", "80.9"}  # of the leaderboard: docs/published/improved-kd-talk.yaml
    published = {page: set(re.findall(FIGURE, text)) for page, text in pages.items()}
    assert {page for page, found in published.items() if found & known} == set(expected)
    assert {page: published[page] - known for page in expected} == dict.fromkeys(expected, set())


def test_published_figures_are_those_of_the_presets(root):
    """TED's GLUE table and the headers of its presets have the same numbers."""
    text = (root / "docs/methods/ted.md").read_text()
    table = re.search(r"(?m)^\| \| teacher \| `ft`.*\n\|[-|]+\n((?:\|.*\n)+)", text)[1]
    for line in table.splitlines():
        title, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = title.split(",")[0].lower().replace("-", "")
        published = presets.header(f"glue-{name}-deberta_v3")["published"]
        figures = [cell.split()[0] for cell in cells[:5]]
        assert re.findall(r"\d\d\.\d", published) == figures, title
        values = presets.load(f"glue-{name}-deberta_v3")
        for method, cell in zip(("kd", "lwd", "ted"), cells[2:5], strict=True):
            if weights := re.search(r"\((.*)\)", cell):
                numbers = [float(number) for number in weights[1].split("/")]
                names = ("kl_alpha", "mse_alpha")[: len(numbers)]
                assert [values[method][key] for key in names] == numbers, (title, method)
        rate, epochs, batch, warmup = [float(number) for number in cells[5].split(",")[:4]]
        filters = 32.0 if name == "rte" else batch
        for section, size in (("student", batch), ("student_filters", filters), ("distill", batch)):
            training = values[section]
            assert (training["learning_rate"], training["epochs"], training["batch_size"], training["warmup"]) == (
                rate,
                epochs,
                size,
                warmup,
            ), (title, section)


@pytest.fixture(scope="module")
def guide(root) -> dict[str, list[str]]:
    """The blocks of docs/adding-a-method.md by kind, as they stand there."""
    found: dict[str, list[str]] = {}
    text = (root / "docs/adding-a-method.md").read_text()
    for kind, block in re.findall(r"(?ms)^```(\w+)\n(.*?)^```", text):
        found.setdefault(kind, []).append(block)
    return found


def test_the_example_s_files_are_as_ruff_wants_them(root, guide):
    files = dict(
        zip(("src/distill/methods/logit_mse.py", "tests/methods/test_logit_mse.py"), guide["python"], strict=True)
    )
    for name, text in files.items():
        for words in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
            command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", name, "-"]
            done = subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_s_page_and_row_are_as_for_every_method(root, guide, tmp_path, monkeypatch):
    page, row = guide["markdown"]
    names = sorted({*registry.available(), "logit_mse"})
    monkeypatch.setattr(registry, "available", lambda: names)
    module = types.ModuleType("distill.methods.logit_mse")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(guide["python"][0], module.__dict__)
    names = sorted({*registry.available(), "logit_mse"})
    monkeypatch.setattr(registry, "available", lambda: names)
    (tmp_path / "docs/methods").mkdir(parents=True)
    (tmp_path / "docs/methods/logit_mse.md").write_text(page)
    test_a_method_has_a_page_with_its_parameters(tmp_path, "logit_mse")
    overview = (root / "docs/methods.md").read_text()
    before = "| [`kd`](methods/kd.md)"
    test_the_table_says_what_every_method_needs(overview.replace(before, row + before, 1))


def test_the_example_of_a_new_method_runs(guide, monkeypatch):
    method, test = guide["python"]
    section, listed = guide["yaml"]
    module = types.ModuleType("distill.methods.logit_mse")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "available", lambda: ["logit_mse"])
    exec(method, module.__dict__)
    module.METHOD.Config.model_validate(yaml.safe_load(section)["logit_mse"])
    assert "logit_mse" in yaml.safe_load(listed)["methods"]
    tests: dict = {}
    exec(test, tests)
    runs = [run for name, run in tests.items() if name.startswith("test_")]
    assert runs
    for run in runs:
        run()


def test_the_guide_names_every_need(root):
    text = (root / "docs/adding-a-method.md").read_text()
    described: dict[str, set[str]] = {}
    current = ""
    for attribute, values, _ in rows(text, "attribute"):
        current = attribute.strip("`") or current  # an empty cell goes on with the attribute above
        described.setdefault(current, set()).update(re.findall(r"`(\w+)`", values))
    methods = [registry.load(name) for name in registry.available()]
    assert described == {
        "needs": {need for method in methods for need in method.needs},
        "taught_by": {method.taught_by for method in methods},
        "artifacts": {artifact for method in methods for artifact in method.artifacts},
        "on_embeddings": {role for method in methods for role in method.on_embeddings},
        "copies": {"True"},
    }


def test_the_readme_names_every_method(root):
    table = rows((root / "README.md").read_text(), "what the student learns from")
    assert {name for row in table for name in re.findall(r"`(\w+)`", row[1])} == set(registry.available())


def test_the_stages_are_described(root):
    stages = set(yaml.safe_load((root / "dvc.yaml").read_text())["stages"])
    described = rows((root / "docs/pipeline.md").read_text(), "stage")
    assert {name for row in described for name in re.findall(r"`(\w+)(?:@.*?)?`", row[0])} == stages


def test_the_picture_in_the_readme_has_every_stage(root):
    stages = set(yaml.safe_load((root / "dvc.yaml").read_text())["stages"])
    picture = (root / "README.md").read_text().partition("```mermaid\n")[2].partition("```")[0]
    names = set(re.findall(r"[a-z_]+", re.sub(r'\["made only.*"\]|@method-seed', "", picture)))
    assert names - {"flowchart", "subgraph", "artifacts", "end"} == stages


def test_a_short_table_of_experiments_has_f1_and_parameters(root):
    """What `dvc exp show --drop` is told: DVC looks for the pattern at the beginning of a name."""
    page = (root / "docs/experiments.md").read_text(encoding="utf-8")
    pattern = re.compile("".join(re.findall(r"SHORT=(?:\$SHORT)?'(.*)'", page)))
    summary = json.loads((root / "docs/results/embedded/metrics/summary.json").read_text(encoding="utf-8"))
    figures = [f"{row}.{name}" for row, scores in summary.items() for name in scores if name != "seeds"]
    assert len(figures) > 50
    kept = {name for name in figures if not pattern.match(name)}
    assert {f"{row}.f1" for row in summary} <= kept
    assert {name.partition(".")[2] for name in kept} == {"f1"}
    shown = ["ted.mse_alpha", "kd.temperature", "data.embedded", "student.model.path", "Experiment"]
    assert not any(pattern.match(name) for name in shown)
    assert pattern.match("Created") and pattern.match("data/runs") and pattern.match("calibration.kd.ece_low")


def test_the_command_that_keeps_a_run_names_all_that_git_has_of_it(root):
    (command,) = re.findall(
        r"(?m)^\$ git add (dvc\.lock .*?)  +# keep a run", (root / "docs/experiments.md").read_text()
    )
    kept = {"dvc.lock", "params.yaml"}
    for entry in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values():
        outs = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, []) if isinstance(out, dict)]
        files = [name for out in outs for name, how in out.items() if how.get("cache") is False]
        kept |= {"data/inputs" if name.startswith("data/") else name.split("/")[0] for name in files}
    assert set(command.split()) == kept


def test_the_floors_in_the_readme_are_those_that_lint_imports_checks(root):
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [set(layer.split(" | ")) for layer in settings["contracts"][0]["layers"]]
    floors = rows((root / "README.md").read_text(), "floor")
    assert [set(re.findall(r"`(\w+)`", row[0])) for row in floors] == layers
