"""LangChain's ChatOpenAI."""

import openai
from checks import ECHO, GATEWAY, MODEL, WEATHER, Fault, check, main, raises
from langchain_openai import ChatOpenAI


def model(name=MODEL, base=GATEWAY, **more):
    return ChatOpenAI(model=name, base_url=f"{base}/v1", api_key="none", max_retries=0, max_tokens=12, **more)


@check("chats, and usage is there")
def _():
    answer = model().invoke("Say something about caches.")
    assert answer.content and answer.usage_metadata["output_tokens"] == 12, answer


@check("streams, with usage")
def _():
    whole = None
    for chunk in model(stream_usage=True).stream("Say something about caches."):
        whole = chunk if whole is None else whole + chunk
    assert whole.content and whole.usage_metadata["output_tokens"] == 12, whole


@check("passes bound tools and tool calls, whole and streamed")
def _():
    bound = model("echo", ECHO).bind_tools([WEATHER])
    assert bound.invoke("rain?").tool_calls[0]["args"]["tools"] == [WEATHER]
    whole = None
    for chunk in bound.stream("rain?"):
        whole = chunk if whole is None else whole + chunk
    assert whole.tool_calls[0]["args"]["tools"] == [WEATHER], whole


@check("batches")
def _():
    assert len(model().batch(["one", "two", "three", "four"])) == 4


@check("an unknown model is NotFoundError")
def _():
    raises(openai.NotFoundError, lambda: model("nobody").invoke("hello"))


@check("a timeout is APITimeoutError")
def _():
    with Fault('{"fault": "stall"}'):
        raises(openai.APITimeoutError, lambda: model(timeout=1).invoke("hello"))


main("langchain-openai")
