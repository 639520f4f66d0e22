"""Ray for real: a head and two workers on loopback, which share nothing with the coordinator but the remote."""

import os
import time

import pytest

from distill.errors import UserError
from distill.runtime.files import file_hash, files_below
from pipeline.fan.backends import base
from pipeline.fan.backends.base import Submission
from tests.helpers import micro
from tests.pipeline.fan import stub

ray = pytest.importorskip("ray", reason="needs Ray: pip install -c constraints.txt -e '.[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.nodes = [made.add_node(num_cpus=1), made.add_node(num_cpus=1)]
    yield made
    ray.shutdown()
    made.shutdown()


def test_a_fan_out_over_two_nodes(cluster, tmp_path, python):
    """Each has a cache of its own below `--work`; a worker is killed on the way."""
    repo = stub.repo(tmp_path / "repo", tmp_path)
    code = f"{repo / 'src'}{os.pathsep}{repo}"
    env = micro.with_programs(python) | {"PYTHONPATH": code}
    micro.run(repo, "dvc", "remote", "add", "-d", "store", str(tmp_path / "store"), env=env)
    (tmp_path / "kill-kd-2").touch()
    words = ("--backend", "ray", "--slots", "2", "--chunk", "2", "--poll", "0.2", "--work", str(tmp_path / "work"))
    setup = ("--setup", f"export PATH={python}:$PATH", "--option", f"address={cluster.address}")
    done = micro.run(repo, "python", "-m", "pipeline.commands.fan", *words, *setup, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": lost after" in done.stdout and (tmp_path / "killed").exists()
    assert "Running stage 'distill" not in done.stdout and "MB moved" in done.stdout
    plain = stub.repo(tmp_path / "plain", tmp_path / "nothing")
    micro.run(plain, "dvc", "repro", env=env)
    for folder in stub.OUTPUTS:
        files = [{name: file_hash(file) for name, file in files_below(place / folder)} for place in (repo, plain)]
        assert files[0] == files[1] and files[0]
    assert (tmp_path / "work" / "cache" / "files").is_dir() and not list(tmp_path.glob("work/*/*/.git"))


def test_a_job_of_a_node_that_goes_has_no_code(cluster, tmp_path, monkeypatch):
    from pipeline.fan.backends import ray as backends

    monkeypatch.setattr(backends, "script", lambda *arguments: f"touch {tmp_path}/begun; sleep 300")
    backend = backends.Ray(str(tmp_path), 0, {"address": cluster.address})
    for end in (".json", ".bundle"):
        (tmp_path / f"job{end}").write_text("{}")
    job = Submission("job", tmp_path / "job.json", 0, tmp_path / "log")
    backend.submit(job)
    while not (tmp_path / "begun").exists():
        assert backend.state("job").word == "running"
        time.sleep(0.1)
    for node in cluster.nodes:
        cluster.remove_node(node, allow_graceful=False)
    cluster.nodes = []
    while (state := backend.state("job")).word == "running":
        time.sleep(0.2)
    assert state == base.State("ended") and (tmp_path / "log").read_text()
    assert backend.state("another").word == "ended"


def test_an_address_where_nothing_answers_is_refused_at_once(tmp_path):
    from pipeline.fan.backends.ray import Ray

    with pytest.raises(UserError, match="--backend ray: address: 127.0.0.1:1: .*: start it there by ray start --head"):
        Ray(str(tmp_path), 0, {"address": "127.0.0.1:1"})
