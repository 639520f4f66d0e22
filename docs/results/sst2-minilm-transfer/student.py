"""Makes the student of this result: layers 2, 4 and 6 of a pretrained MiniLM of 6 layers, before any fine-tuning.

python docs/results/sst2-minilm-transfer/student.py sentence-transformers/all-MiniLM-L6-v2 models/minilm-3
"""

import sys

from torch import nn
from transformers import AutoModel, AutoTokenizer

source, target = sys.argv[1:]
model = AutoModel.from_pretrained(source, dtype="float32")
model.encoder.layer = nn.ModuleList([model.encoder.layer[number - 1] for number in (2, 4, 6)])
model.config.num_hidden_layers = 3
model.save_pretrained(target)
AutoTokenizer.from_pretrained(source).save_pretrained(target)
