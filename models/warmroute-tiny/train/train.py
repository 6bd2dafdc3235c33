"""Train the embedded model: a small GPT-2 on public-domain text, on one CPU core, within a budget of minutes.

The model exists so that the router can be tried, tested and measured with nothing downloaded; it is not meant to be clever.
What it must be is an ordinary GPT-2 checkpoint (names, Conv1D layout, tied head), small enough to ship inside a binary, with
every one of its positions trained, and with prompts of a thousand tokens no worse than short ones.

    python corpus.py --out SCRATCH/corpus
    python train.py --corpus SCRATCH/corpus --out MODEL_DIR --minutes 25

Choices, each for the same amount of computing:
- Learning rate follows the *time* used, not a step count, so that a slow machine ends with a finished model, only a weaker one.
- Muon for the blocks' matrices, AdamW for the rest: fewer tokens to the same loss than AdamW alone.
- Windows start at position 0 or at a random offset, and some are long, so that no position embedding stays untrained.
- Position embeddings start as sinusoids: neighbours are alike from the first step, which the offsets need.
- Some of the text is dressed as chats in the form of the chat template, so that the template is not foreign to the model.
"""

import argparse
import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

END = "<|endoftext|>"
CONFIG = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 2048, "n_positions": 2048, "n_ctx": 2048,
    "n_embd": 192, "n_layer": 4, "n_head": 6, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True, "torch_dtype": "float16",
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}
HELD_OUT = 0.03                # the end of every source text, never trained on
CHAT_SHARE = 0.3               # of the runs of paragraphs
TOKENS_PER_STEP = 2048
WINDOWS = [256] * 6 + [512] * 3 + [1024]  # drawn evenly: most short for speed, enough long ones for long prompts
WARM_UP = 0.02                 # of the budget
LEARNING_RATE = 4e-3
PROMPTS = ["In the beginning", "It was not very", "user:\nWho is the king?\nassistant:\n", "user:\nHow do you do?\nassistant:\n"]


def main():
    """Read the text, train the tokenizer and the model, measure, save, show."""
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    train, held_out = read_corpus(arguments.corpus)
    tokenizer = train_tokenizer(train)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    tokens = torch.tensor(tokenizer.encode(dress(train, random.Random(arguments.seed))).ids)
    model = Gpt2(CONFIG)
    print(f"{len(tokens)} training tokens, {sum(p.numel() for p in model.parameters())} parameters", flush=True)
    used = fit(model, tokens, Budget(arguments.minutes, arguments.wall_minutes))
    save(model, arguments.out)
    report = {**used, **measure(model, tokenizer, held_out), "samples": samples(model, tokenizer)}
    print(json.dumps(report, indent=1))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of .txt files, one paragraph a line (see corpus.py)")
    parser.add_argument("--out", type=Path, required=True, help="folder for config.json, tokenizer.json and model.safetensors")
    parser.add_argument("--minutes", type=float, default=25.0, help="CPU minutes to train")
    parser.add_argument("--wall-minutes", type=float, default=math.inf, help="stop by then even if the CPU was shared")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


# ---- text ----

def read_corpus(folder):
    """`(train, held_out)`: for every source text a list of paragraphs; the last part of each is held out."""
    train, held_out = [], []
    for path in sorted(folder.glob("*.txt")):
        paragraphs = path.read_text(encoding="utf-8").splitlines()
        cut = len(paragraphs)
        kept = HELD_OUT * sum(map(len, paragraphs))
        while kept > 0:
            cut -= 1
            kept -= len(paragraphs[cut])
        train.append(paragraphs[:cut])
        held_out.append(paragraphs[cut:])
    return train, held_out


def train_tokenizer(sources):
    """Byte-level BPE as GPT-2's, end of text as id 0; every byte is in the alphabet, so nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=CONFIG["vocab_size"], special_tokens=[END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator((p for paragraphs in sources for p in paragraphs), trainer)
    return tokenizer


def dress(sources, chance):
    """All sources as one string: runs of neighbouring paragraphs in random order, some as plain text, some as chats."""
    runs = []
    for paragraphs in sources:
        at = 0
        while at < len(paragraphs):
            length = chance.randint(2, 40)
            run = paragraphs[at:at + length]
            runs.append(as_chat(run, chance) if chance.random() < CHAT_SHARE else "\n".join(run) + "\n" + END)
            at += length
    chance.shuffle(runs)
    return "".join(runs)


def as_chat(paragraphs, chance):
    """Paragraphs as alternating messages, as the chat template in tokenizer_config.json renders them."""
    text, at = "", 0
    if chance.random() < 0.5:
        text, at = f"system:\n{paragraphs[0]}\n", 1
    for turn, paragraph in enumerate(paragraphs[at:]):
        text += f"assistant:\n{paragraph}{END}\n" if turn % 2 else f"user:\n{paragraph}\n"
    return text + END


# ---- model: attribute names make the checkpoint's names ----

class Conv1D(nn.Module):
    """GPT-2's linear layer: the weight is input x output, the transpose of `nn.Linear`'s."""

    def __init__(self, inputs, outputs, scale):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * scale)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention; queries, keys and values come from one projection."""

    def __init__(self, config):
        super().__init__()
        width, self.heads = config["n_embd"], config["n_head"]
        self.c_attn = Conv1D(width, 3 * width, width ** -0.5)
        self.c_proj = Conv1D(width, width, 0.02)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(width, -1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["n_embd"]
        self.c_fc = Conv1D(width, 4 * width, width ** -0.5)
        self.c_proj = Conv1D(4 * width, width, 0.01)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, epsilon = config["n_embd"], config["layer_norm_epsilon"]
        self.ln_1, self.attn = nn.LayerNorm(width, epsilon), Attention(config)
        self.ln_2, self.mlp = nn.LayerNorm(width, epsilon), Mlp(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt2(nn.Module):
    """The whole model; `forward` returns logits [batch, length, vocabulary]. The head is the token embedding."""

    def __init__(self, config):
        super().__init__()
        width = config["n_embd"]
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(config["vocab_size"], width),
            "wpe": nn.Embedding(config["n_positions"], width),
            "h": nn.ModuleList(Block(config) for _ in range(config["n_layer"])),
            "ln_f": nn.LayerNorm(width, config["layer_norm_epsilon"]),
        })
        nn.init.normal_(self.transformer.wte.weight, std=0.04)
        self.transformer.wpe.weight.data.copy_(0.04 * sinusoids(config["n_positions"], width))

    def forward(self, tokens, positions):
        x = self.transformer.wte(tokens) + self.transformer.wpe(positions)
        for block in self.transformer.h:
            x = block(x)
        return self.transformer.ln_f(x) @ self.transformer.wte.weight.T


def sinusoids(positions, width):
    """Sines and cosines of geometrically spaced frequencies, [positions, width]."""
    frequencies = torch.exp(-math.log(1e4) * torch.arange(width // 2) / (width // 2))
    angles = torch.arange(positions)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


# ---- training ----

@dataclass
class Budget:
    """CPU and wall minutes allowed; `progress` goes from 0 to 1 with whichever is used up first."""
    cpu_minutes: float
    wall_minutes: float

    def __post_init__(self):
        self.cpu_start, self.wall_start = time.process_time(), time.monotonic()

    def used(self):
        return {"cpu_minutes": round((time.process_time() - self.cpu_start) / 60, 2),
                "wall_minutes": round((time.monotonic() - self.wall_start) / 60, 2)}

    def progress(self):
        cpu = (time.process_time() - self.cpu_start) / 60 / self.cpu_minutes
        wall = (time.monotonic() - self.wall_start) / 60 / self.wall_minutes
        return min(1.0, max(cpu, wall))


def fit(model, tokens, budget):
    """Train until the budget is used; returns what was used."""
    optimizers, step, recent = make_optimizers(model), 0, None
    while (progress := budget.progress()) < 1.0:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * learning_rate_factor(progress)
        loss = next_token_loss(model, *draw_batch(tokens))
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        recent = loss.item() if recent is None else 0.98 * recent + 0.02 * loss.item()
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {recent:.3f} progress {progress:.3f} {budget.used()}", flush=True)
    return {"steps": step, "tokens_seen": step * TOKENS_PER_STEP, "train_loss": round(recent, 3), **budget.used()}


def make_optimizers(model):
    """Muon for the blocks' matrices, AdamW for embeddings, norms and biases; `peak` is each group's highest rate."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and ".h." in name]
    embeddings = [p for name, p in model.named_parameters() if p.dim() == 2 and ".h." not in name]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    muon = torch.optim.Muon(matrices, lr=LEARNING_RATE, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW([{"params": embeddings, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
                             lr=LEARNING_RATE, betas=(0.9, 0.98))
    for group in muon.param_groups + adam.param_groups:
        group["peak"] = LEARNING_RATE
    return muon, adam


def learning_rate_factor(progress):
    """A short linear warm-up, then half a cosine down to a fiftieth."""
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (progress + 1e-3) / WARM_UP) * (0.98 * cosine + 0.02)


def draw_batch(tokens):
    """`(inputs, targets, positions)` of one random window length; every second batch starts at position 0."""
    window = random.choice(WINDOWS)
    rows = TOKENS_PER_STEP // window
    starts = torch.randint(len(tokens) - window - 1, (rows, 1))
    offsets = torch.randint(CONFIG["n_positions"] - window + 1, (rows, 1)) * (random.random() < 0.5)
    span = torch.arange(window)
    return tokens[starts + span], tokens[starts + span + 1], offsets + span


def next_token_loss(model, inputs, targets, positions):
    """Mean cross entropy in nats a token."""
    return F.cross_entropy(model(inputs, positions).flatten(0, 1), targets.flatten())


# ---- results ----

def save(model, folder):
    """Write the checkpoint in f16, and round the model in memory alike: what is measured is what is shipped."""
    state = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.load_state_dict({name: value.float() for name, value in state.items()})
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")


@torch.no_grad()
def measure(model, tokenizer, held_out):
    """Held-out loss on whole windows of several lengths from position 0, and of short windows at the last positions."""
    text = END.join("\n".join(paragraphs) + "\n" for paragraphs in held_out)
    tokens = torch.tensor(tokenizer.encode(text).ids)
    tokens_per_byte = len(tokens) / len(text.encode())
    last = CONFIG["n_positions"] - 256
    result = {"held_out_bytes": len(text.encode()), "held_out_tokens": len(tokens)}
    for window, offset in [(256, 0), (1024, 0), (2048, 0), (256, last)]:
        windows = [(at, torch.arange(window)) for at in range(0, len(tokens) - window, window)]
        losses = [next_token_loss(model, tokens[at + span][None], tokens[at + span + 1][None], (offset + span)[None]).item()
                  for at, span in windows]
        mean = sum(losses) / len(losses)
        result[f"window {window} at {offset}"] = {
            "nats_per_token": round(mean, 4), "bits_per_byte": round(mean * tokens_per_byte / math.log(2), 4)}
    return result


@torch.no_grad()
def samples(model, tokenizer, length=60, temperature=0.8, best=40):
    """One sampled continuation of every prompt."""
    texts = []
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt).ids
        for _ in range(length):
            logits = model(torch.tensor([ids]), torch.arange(len(ids))[None])[0, -1] / temperature
            values, candidates = logits.topk(best)
            ids.append(candidates[torch.multinomial(values.softmax(0), 1)].item())
        texts.append(tokenizer.decode(ids, skip_special_tokens=False))
    return texts


if __name__ == "__main__":
    main()
