"""A worker that calls the first tool it is given, with the bytes it has received as the arguments: what came through is what was sent.

Usage: echo.py PORT
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _send(self, body, kind="application/json"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/v1/models":
            self._send(json.dumps({"object": "list", "data": [{"id": "echo", "object": "model", "created": 0, "owned_by": "test"}]}).encode())
        else:
            self._send(b"{}")

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw)
        tools = body.get("tools") or [{"function": {"name": "none"}}]
        arguments = json.dumps({"tools": tools, "sha256": hashlib.sha256(raw).hexdigest()})
        call = {"id": "call_1", "type": "function", "function": {"name": tools[0]["function"]["name"], "arguments": arguments}}
        if body.get("stream"):
            self._send(self._events(call), "text/event-stream")
        else:
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            self._send(self._answer("chat.completion", {"message": message, "finish_reason": "tool_calls"}))

    @staticmethod
    def _answer(kind, choice):
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        choice = {"index": 0, **choice}
        return json.dumps({"id": "c", "object": kind, "created": 0, "model": "echo", "choices": [choice], "usage": usage}).encode()

    def _events(self, call):
        """The call in two pieces, as engines stream it."""
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        first = {**call, "index": 0, "function": {"name": call["function"]["name"], "arguments": arguments[:half]}}
        rest = {"index": 0, "function": {"arguments": arguments[half:]}}
        pieces = [({"role": "assistant", "tool_calls": [first]}, None), ({"tool_calls": [rest]}, None), ({}, "tool_calls")]
        events = [self._answer("chat.completion.chunk", {"delta": delta, "finish_reason": end}) for delta, end in pieces]
        return b"".join(b"data: " + event + b"\n\n" for event in events) + b"data: [DONE]\n\n"


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
