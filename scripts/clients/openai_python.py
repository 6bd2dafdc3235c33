"""The openai Python client."""

import json

import openai
from checks import ECHO, GATEWAY, MODEL, WEATHER, WORKERS, Fault, check, main, raises

client = openai.OpenAI(base_url=f"{GATEWAY}/v1", api_key="none", max_retries=0, timeout=20)
echo = openai.OpenAI(base_url=f"{ECHO}/v1", api_key="none", max_retries=0, timeout=20)
HELLO = [{"role": "user", "content": "Say something about caches."}]


def chat(**more):
    return client.chat.completions.create(model=MODEL, messages=HELLO, **more)


@check("lists the models")
def _():
    assert MODEL in [model.id for model in client.models.list()]


@check("chats, and usage adds up")
def _():
    answer = chat(max_tokens=12)
    assert answer.choices[0].message.content
    usage = answer.usage
    assert usage.completion_tokens == 12 and usage.total_tokens == usage.prompt_tokens + 12, usage


@check("reports cached tokens the second time")
def _():
    messages = [{"role": "user", "content": "once upon a time " * 100}]
    ask = lambda: client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2).usage
    ask()
    assert ask().prompt_tokens_details.cached_tokens > 300


@check("streams, with usage at the end")
def _():
    chunks = list(chat(max_tokens=12, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text and chunks[-1].usage.completion_tokens == 12, chunks[-1]
    assert len(chunks) > 3, f"only {len(chunks)} chunks"


@check("streams without usage where none was asked for")
def _():
    chunks = list(chat(max_tokens=4, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length" or chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


@check("leaves in the middle of a stream")
def _():
    stream = chat(max_tokens=100_000, stream=True)
    next(iter(stream))
    stream.close()
    assert chat(max_tokens=2).choices


@check("completes text")
def _():
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=5)
    assert answer.choices[0].text and answer.usage.completion_tokens == 5


@check("passes tools and tool calls, whole")
def _():
    answer = echo.chat.completions.create(model="echo", messages=HELLO, tools=[WEATHER], tool_choice="auto")
    call = answer.choices[0].message.tool_calls[0].function
    assert call.name == "weather" and json.loads(call.arguments)["tools"] == [WEATHER], call


@check("passes tools and tool calls, streamed")
def _():
    stream = echo.chat.completions.create(model="echo", messages=HELLO, tools=[WEATHER], stream=True)
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert json.loads("".join(call.function.arguments for call in calls))["tools"] == [WEATHER]


@check("passes unknown fields and odd numbers byte for byte")
def _():
    import hashlib

    raw = b'{"model" :"echo",\t"messages":[{"role":"user","content":"\\u00e4\xc3\xa4"}],"temperature":1.50e-0,"x_unknown":{"a":[1,1.0,-0.0]}}'
    answer = echo.post("/chat/completions", cast_to=dict, options={"headers": {"content-type": "application/json"}}, content=raw)
    arguments = json.loads(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    assert arguments["sha256"] == hashlib.sha256(raw).hexdigest(), "the body arrived changed"


@check("an unknown model is NotFoundError that names those known")
def _():
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="nobody", messages=HELLO))
    assert error.code == "model_not_found" and MODEL in str(error), error


@check("what an engine refuses is BadRequestError")
def _():
    raises(openai.BadRequestError, lambda: chat(max_tokens=100_000_000))


@check("too many requests is RateLimitError with retry-after")
def _():
    with Fault('{"fault": "status_429"}'):
        error = raises(openai.RateLimitError, lambda: chat(max_tokens=2))
    assert error.response.headers.get("retry-after"), dict(error.response.headers)


@check("workers that fail are InternalServerError")
def _():
    with Fault('{"fault": "status_500"}'):
        raises(openai.InternalServerError, lambda: chat(max_tokens=2))


@check("a stream that breaks is an error, not an end")
def _():
    with Fault('{"fault": "reset_midway"}'):
        raises(Exception, lambda: list(chat(max_tokens=50, stream=True)))


@check("a timeout is APITimeoutError, and the fleet goes on")
def _():
    with Fault('{"fault": "stall"}'):
        raises(openai.APITimeoutError, lambda: chat(max_tokens=2, timeout=1))
    assert chat(max_tokens=2).choices


@check("does not see that one worker fails")
def _():
    with Fault('{"fault": "status_503"}', WORKERS[:1]):
        for number in range(6):
            assert client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"{number} hello"}], max_tokens=2).choices


@check("reads the headers that explain the decision")
def _():
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=2)
    assert any(name.startswith("x-warmroute-") for name in answer.headers), dict(answer.headers)


main("openai (Python)")
