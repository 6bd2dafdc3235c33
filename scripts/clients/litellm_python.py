"""litellm, as a library."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from checks import ECHO, GATEWAY, MODEL, WEATHER, Fault, check, main, raises

litellm.telemetry = False
litellm.suppress_debug_info = True
HELLO = [{"role": "user", "content": "Say something about caches."}]


def chat(model=f"openai/{MODEL}", base=GATEWAY, **more):
    return litellm.completion(model=model, api_base=f"{base}/v1", api_key="none", messages=HELLO, max_retries=0, **more)


@check("chats as openai/ and as hosted_vllm/")
def _():
    for provider in ("openai", "hosted_vllm"):
        answer = chat(f"{provider}/{MODEL}", max_tokens=12)
        assert answer.choices[0].message.content and answer.usage.completion_tokens == 12, provider


@check("streams, with usage")
def _():
    chunks = list(chat(max_tokens=12, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert any(getattr(chunk, "usage", None) and chunk.usage.completion_tokens == 12 for chunk in chunks)


@check("passes tools and tool calls")
def _():
    answer = chat("openai/echo", ECHO, tools=[WEATHER])
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments)["tools"] == [WEATHER]


@check("an unknown model is NotFoundError")
def _():
    raises(litellm.NotFoundError, lambda: chat("openai/nobody"))


@check("too many requests is RateLimitError")
def _():
    with Fault('{"fault": "status_429"}'):
        raises(litellm.RateLimitError, lambda: chat(max_tokens=2))


@check("a timeout is Timeout")
def _():
    with Fault('{"fault": "stall"}'):
        raises(litellm.Timeout, lambda: chat(max_tokens=2, timeout=1))


main("litellm")
