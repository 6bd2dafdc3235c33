#!/usr/bin/env python3
"""Reads the KV events that our workers publish with the library and the structures that vLLM reads them with.

    cargo run -p warmroute-kv --example kv_messages | python3 scripts/check_kv_events.py      (needs msgspec)

The structures repeat vLLM's names, order and types (vllm/distributed/kv_events.py): lists as in 0.23, maps as in 0.28. msgspec
refuses a message with a missing field or another type.
"""

import sys
from typing import Any

import msgspec


def structures(as_list):
    """vLLM's batch of events, in the form before 0.24 or after."""

    class KVCacheEvent(msgspec.Struct, array_like=as_list, omit_defaults=True, tag=True):
        pass

    class BlockStored(KVCacheEvent):
        block_hashes: list[bytes | int]
        parent_block_hash: bytes | int | None
        token_ids: list[int]
        block_size: int
        lora_id: int | None
        medium: str | None
        lora_name: str | None
        extra_keys: list[tuple[Any, ...] | None] | None = None
        group_idx: int | None = None
        kv_cache_spec_kind: str | None = None
        kv_cache_spec_sliding_window: int | None = None

    class BlockRemoved(KVCacheEvent):
        block_hashes: list[bytes | int]
        medium: str | None
        group_idx: int | None = None

    class AllBlocksCleared(KVCacheEvent):
        pass

    class KVEventBatch(msgspec.Struct, array_like=True, omit_defaults=True):
        ts: float
        events: list[BlockStored | BlockRemoved | AllBlocksCleared]
        data_parallel_rank: int | None = None

    adapter = "an-adapter-whose-name-is-longer-than-31-bytes"
    tokens = [place**3 * 997 for place in range(32)]
    two = [2**64 - 1, 7]
    return KVEventBatch, [
        BlockStored(two, 300, tokens, 16, None, "GPU", None),
        BlockStored(two, None, tokens, 16, 3, "CPU", adapter, None, 1, "full_attention"),
        BlockRemoved([7], "GPU"),
        BlockRemoved([7, 70_000], "CPU", 1),
        AllBlocksCleared(),
    ]


def main():
    forms = {"array": (True, 2), "map": (False, None)}
    for line in sys.stdin:
        form, message = line.split()
        as_list, rank = forms.pop(form)
        batch, events = structures(as_list)
        read = msgspec.msgpack.decode(bytes.fromhex(message), type=batch)
        meant = batch(1.5, events, rank)
        if read != meant:
            sys.exit(f"{form}: published {meant}\nread {read}")
        print(f"{form}: {len(events)} events read as they were meant")
    if forms:
        sys.exit(f"no message in these forms: {', '.join(forms)}")


if __name__ == "__main__":
    main()
