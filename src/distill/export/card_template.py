"""The text of the model card, a Jinja template; `distill.export.card` fills it in."""

TEMPLATE = """\
---
{{ front_matter }}
---
# {{ name }}

{{ what }} It was distilled by the method `{{ method }}`, seed {{ seed }}, and
exported to ONNX. Every figure on this card was written by the run itself.

## Files

| file | content | MB |
|---|---|---:|
{% for file, content, size in files -%}
| `{{ file }}` | {{ content }} | {{ "%.2f"|format(size) }} |
{% endfor -%}
| `task.json` | how the model is asked: lengths, threshold, temperature, classes | |
| `config.json`, `tokenizer.json`, `tokenizer_config.json` | of transformers | |

Inputs are {{ inputs|join(", ") }}: int64, (batch, length), any number of rows of up to {{ max_length }} tokens.
Outputs are {{ outputs }}.

```console
$ {{ usage }}
```

## Intended use

{{ intended }}

## Training data

{{ data }}

| split | {{ columns|join(" | ") }} |
|---|{{ "---:|" * columns|length }}
{% for split, counts in splits -%}
| {{ split }} | {{ counts|join(" | ") }} |
{% endfor %}
The selection split was kept out of training; checkpoints{{ tuned }} were chosen on it. Nothing was chosen on the
validation split, on which the figures below were measured.

## Procedure

{{ summary }}

| | |
|---|---|
| teacher | {{ teacher }} |
| student | {{ student }} |
| updates | {{ updates }} |
{% for key, value in training -%}
| `distill.{{ key }}` | {{ value }} |
{% endfor -%}
{% for key, value in parameters -%}
| `{{ method }}.{{ key }}` | {{ value }} |
{% endfor %}
## Results

The validation split: {{ examples }}.{{ threshold }}

| model | {{ reported|join(" | ") }} |
|---|{{ "---:|" * reported|length }}
{% for model, values in rows -%}
| {{ model }} | {{ values|join(" | ") }} |
{% endfor %}

One seed says little about a method: the run's report compares several.

## After export

{{ exported }} Logits of `model.onnx` and of PyTorch differ by {{ "%.2g"|format(parity) }} at most.

| | {{ scores|join(" | ") }} | latency, ms | {{ rows_name }} per second |
|---|{{ "---:|" * (scores|length + 2) }}
{% for form, values in forms -%}
| {{ form }} | {{ values|join(" | ") }} |
{% endfor %}
{{ machine }} Latency: median at batch 1. Throughput: batches of {{ batch_size }}. They hold for this machine alone.

## Limits

{% for limit in limits -%}
- {{ limit }}
{% endfor %}
## Made with

{{ versions }}.{% if commit %} Commit {{ commit }}.{% endif %}
"""
