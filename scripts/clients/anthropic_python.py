"""The anthropic client."""

import anthropic
from checks import GATEWAY, MODEL, Fault, check, main, raises

client = anthropic.Anthropic(base_url=GATEWAY, api_key="none", max_retries=0, timeout=20)
HELLO = [{"role": "user", "content": "Say something about caches."}]


def message(**more):
    return client.messages.create(**{"model": MODEL, "max_tokens": 12, "messages": HELLO, **more})


@check("sends a message, and usage is there")
def _():
    answer = message()
    assert answer.content[0].text and answer.usage.output_tokens == 12 and answer.usage.input_tokens >= 0, answer


@check("reports what was read from the cache the second time")
def _():
    long = [{"role": "user", "content": "once upon a time " * 100}]
    message(messages=long)
    assert message(messages=long).usage.cache_read_input_tokens > 300


@check("streams")
def _():
    with client.messages.stream(model=MODEL, max_tokens=12, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text and final.usage.output_tokens == 12, final


@check("an unknown model is NotFoundError")
def _():
    raises(anthropic.NotFoundError, lambda: message(model="nobody"))


@check("too many requests is RateLimitError")
def _():
    with Fault('{"fault": "status_429"}'):
        raises(anthropic.RateLimitError, message)


@check("a timeout is APITimeoutError")
def _():
    with Fault('{"fault": "stall"}'):
        raises(anthropic.APITimeoutError, lambda: message(timeout=1))


main("anthropic")
