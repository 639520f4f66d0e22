"""Stages of a comparison as a fan-out sees them."""

from pipeline.fan.graph import Stage


def comparison(methods, seeds, controls=(), exports=()):
    """The stages of these methods and seeds, each after those that it needs."""
    stages = [
        Stage("inputs", outs=("data/inputs",)),
        Stage("prepare", ("inputs",), ("data/inputs",), ("data/prepared",)),
        Stage(
            "finetune_teacher",
            ("prepare",),
            ("data/prepared",),
            ("data/models/teacher", "metrics/t.json"),
            ("metrics/t.json",),
        ),
        Stage("finetune_student", ("prepare",), ("data/prepared",), ("data/models/student",)),
        Stage("signals", ("finetune_teacher",), ("data/models/teacher",), ("data/signals",)),
        Stage("evaluate_teacher", ("finetune_teacher",), ("data/models/teacher", "data/members"), ("data/t.json",)),
    ]
    for method in methods:
        for seed in seeds:
            item, model = f"{method}-{seed}", f"data/models/distill/{method}/{seed}"
            deps = ("data/prepared", "data/models/student", f"data/signals/{method}")
            stages.append(Stage(f"distill@{item}", ("prepare", "finetune_student", "signals"), deps, (model,)))
            stages.append(Stage(f"evaluate@{item}", (f"distill@{item}",), (model,), (f"data/predictions/{item}.json",)))
            if method in controls:
                needs = (f"distill@ft-{seed}", f"distill@{item}")
                model = f"data/models/distill/ft-own-{method}/{seed}"
                stages.append(Stage(f"control@own-{item}", needs, (), (model,)))
                stages.append(
                    Stage(f"evaluate_control@own-{item}", (f"control@own-{item}",), (model,), (f"data/own-{item}",))
                )
            if method in exports:
                stages.append(
                    Stage(f"export@{item}", (f"evaluate@{item}", "evaluate_teacher"), (), (f"data/export/{item}",))
                )
    scores = tuple(stage.name for stage in stages if stage.base.startswith("evaluate"))
    return [*stages, Stage("cost", ("finetune_teacher",)), Stage("summarize", (*scores, "cost"), ("data/predictions",))]


def by_name(stages):
    return {stage.name: stage for stage in stages}
