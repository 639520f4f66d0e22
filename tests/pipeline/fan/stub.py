"""A pipeline of shell commands with the stages of the real one: what a fan-out does costs no training."""

from pathlib import Path

from tests.helpers import micro

DVC_YAML = """\
stages:
  inputs:
    cmd: sh stub.sh inputs
    always_changed: true
    params: [methods]
    outs:
      - data/inputs/data.json: {cache: false, persist: true}
  prepare:
    cmd: sh stub.sh prepare
    deps: [data/inputs/data.json]
    outs: [data/prepared]
  finetune_teacher:
    cmd: sh stub.sh finetune
    deps: [data/prepared]
    outs: [data/models/teacher]
    metrics:
      - metrics/selection/teacher.json: {cache: false}
  signals:
    cmd: sh stub.sh signals
    deps: [data/prepared, data/models/teacher, metrics/selection/teacher.json]
    outs: [data/signals]
  evaluate_teacher:
    cmd: sh stub.sh evaluate_teacher
    deps: [data/models/teacher, data/members]
    outs: [data/predictions/teacher.json]
  distill:
    matrix: {method: "${methods}", seed: "${seeds}"}
    cmd: sh stub.sh distill ${item.method} ${item.seed}
    params: ["${item.method}"]
    deps: [data/prepared, "data/signals/${item.method}"]
    outs: ["data/models/distill/${item.method}/${item.seed}"]
    metrics:
      - metrics/curves/${item.method}-${item.seed}.csv: {cache: false}
  evaluate:
    matrix: {method: "${methods}", seed: "${seeds}"}
    cmd: sh stub.sh evaluate ${item.method} ${item.seed}
    deps: [data/prepared, "data/models/distill/${item.method}/${item.seed}"]
    outs: ["data/predictions/${item.method}-${item.seed}.json"]
  summarize:
    cmd: sh stub.sh summarize
    deps: [data/predictions]
    outs: [metrics/report.html]
"""
#: The stages. `kill-…` and `break-…` in the folder of marks are done once, by the student whom they name;
#: as long as `hold-…` is there, that student waits.
COMMANDS = """\
marks=MARKS
mkdir -p data/inputs data/prepared data/models data/predictions metrics/selection metrics/curves
student=data/models/distill/$2/$3
case $1 in
inputs) echo 1 > data/inputs/data.json;;
prepare) seq 2000 > data/prepared/rows;;
finetune) wc -l data/prepared/rows > data/models/teacher; echo '{"f1": 1}' > metrics/selection/teacher.json;;
signals) for name in ft kd; do
    mkdir -p data/signals/$name; echo $name > data/signals/$name/own; cp data/prepared/rows data/signals/$name
  done;;
evaluate_teacher) cp data/models/teacher data/predictions/teacher.json;;
distill)
  if mv "$marks/kill-$2-$3" "$marks/killed" 2> /dev/null; then kill -9 $$; fi
  if [ -e "$marks/hold-$2-$3" ]; then touch "$marks/held"; fi
  while [ -e "$marks/hold-$2-$3" ]; do sleep 0.1; done
  mkdir -p $student
  cat data/signals/$2/own > $student/model
  echo $3 >> $student/model
  echo "step,loss" > metrics/curves/$2-$3.csv
  if mv "$marks/break-$2-$3" "$marks/broken" 2> /dev/null; then
    mv "$marks/store" "$marks/away"; touch "$marks/store"
  fi;;
evaluate) cat $student/model data/prepared/rows > data/predictions/$2-$3.json;;
summarize) cat data/predictions/* > metrics/report.html;;
esac
"""
OUTPUTS = ("data/models", "data/predictions", "data/prepared", "data/signals", "metrics")


def repo(folder: Path, marks: Path, seeds: tuple[int, ...] = (1, 2)) -> Path:
    """A repository of two methods and some seeds; its remote is to be `<marks>/store`."""
    root = micro.repo(folder, {"methods": ["ft", "kd"], "seeds": list(seeds)})
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "stub.sh").write_text(COMMANDS.replace("MARKS", str(marks)))
    for words in (["add", "-A"], ["commit", "-qm", "stubs"]):
        micro.run(root, "git", *words)
    return root
