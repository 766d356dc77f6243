"""Sends one stream through the sidecar: exit 0 if it is whole and clean, or else 1 and a sentence.

For `helm test`: it runs in the image, with the standard library only.
"""

import json
import os
import ssl
import sys
import urllib.request

HIDDEN = ("reasoning_content", "reasoning", "reasoning_details", "tool_calls", "function_call")
MARKERS = ("<think", "</think", "<tool_call", "</tool_call", "<|channel|>", "[TOOL_CALLS]")


def ask(path, body=None):
    headers = {"Content-Type": "application/json"}
    if os.environ.get("API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["API_KEY"]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["BASE_URL"] + path, data, headers)
    # The stream is tested, and not the certificate, whose name may be that of the world outside.
    context = ssl._create_unverified_context()
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    return urllib.request.build_opener(*handlers).open(request, timeout=300)


def fail(sentence):
    sys.exit("not clean: " + sentence)


def main():
    model = os.environ.get("MODEL") or json.load(ask("/models"))["data"][0]["id"]
    question = [{"role": "user", "content": "What is 17 times 23? Think first."}]
    text, ended = "", False
    for line in ask("/chat/completions", {"model": model, "messages": question, "stream": True}):
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if payload == b"[DONE]":
            ended = True
            continue
        event = json.loads(payload)
        if "error" in event:
            fail("the stream ended with an error")
        for choice in event.get("choices", []):
            delta = choice.get("delta") or {}
            for key in HIDDEN:
                if delta.get(key):
                    fail(f"a delta has {key}")
            text += delta.get("content") or ""
    if not ended:
        fail("the stream has no end")
    for marker in MARKERS:
        if marker in text:
            fail(f"the answer has {marker}")
    if not text.strip():
        fail("the answer is empty")
    print(f"clean: {len(text)} characters of {model}")


main()
