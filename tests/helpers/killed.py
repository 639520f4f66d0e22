"""Stages for `tests/pipeline/test_kill.py`, whose settings differ as much as they can, and what they make."""

# Thirty updates or so in several epochs, with a checkpoint after every second; the settings differ as much as they can.
LONG = {"max_steps": None, "log_every": 2}
DROPOUT = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def settings(section, **values):
    return {f"{section}.{name}": value for name, value in (LONG | values).items()}


TEACHER = settings(
    "teacher", epochs=3, batch_size=24, gradient_accumulation=2, keep="best", evaluations=5, learning_rate=0.003
) | {f"teacher.model.config.{name}": value for name, value in DROPOUT.items()}
STUDENT = settings(
    "student",
    epochs=2.5,
    batch_size=16,
    precision="bf16",
    group_by_length=False,
    lr_scheduler="cosine",
    weight_decay=0.1,
) | {"student.init": "teacher_layers", "student.layers": [2]}
TEACHER_FILTERS = settings(
    "teacher_filters", epochs=2, batch_size=16, keep="best", evaluations=4, nonlinear=True, backbone_dropout=True
)
STUDENT_FILTERS = settings(
    "student_filters", epochs=1.5, batch_size=12, group_by_length=False, precision="bf16", keep="last"
)
DISTILL = settings("distill", epochs=2, batch_size=16, gradient_accumulation=2, evaluations=3, keep="best")
PLAIN = settings("distill", epochs=2, batch_size=16, precision="bf16", group_by_length=False)
GROWING = {"value": 100, "schedule": "cosine_growth", "warmup": 0.1}

# stage and words -> parameters, what it makes
TRAININGS = {
    "finetune teacher": (
        TEACHER,
        ["data/models/teacher", "metrics/curves/teacher.csv", "metrics/selection/teacher.json"],
    ),
    "finetune student": (
        STUDENT,
        ["data/models/student", "metrics/curves/student.csv", "metrics/selection/student.json"],
    ),
    "train_filters teacher": (
        TEACHER_FILTERS,
        ["data/models/filters/teacher", "metrics/curves/filters-teacher.csv", "metrics/filters/teacher.json"],
    ),
    "train_filters student": (
        STUDENT_FILTERS,
        ["data/models/filters/student", "metrics/curves/filters-student.csv", "metrics/filters/student.json"],
    ),
    "distill ted 1": (DISTILL | {"ted.mse_alpha": GROWING}, ["data/models/distill/ted/1", "metrics/curves/ted-1.csv"]),
    "distill lwd 1": (PLAIN, ["data/models/distill/lwd/1", "metrics/curves/lwd-1.csv"]),
    "distill kd 2": (DISTILL, ["data/models/distill/kd/2", "metrics/curves/kd-2.csv"]),
}
OTHERS = {
    "corpus": ({}, ["data/raw/atlas"]),
    "prepare": ({}, ["data/prepared"]),
    "predict": ({"predict.batch_size": 8}, ["data/teacher", "data/states", "data/filter_states"]),
    "signals": ({}, ["data/signals"]),
    "evaluate student": ({}, ["metrics/runs/student.json", "data/predictions"]),
}
