/**
 * Asks a chat model through the sidecar, and reads the answer as it streams. Without dependencies:
 * copy this file into a front end, or read it as an example.
 *
 *   import { ask } from "./client.js";
 *
 *   for await (const event of ask({ baseUrl: "https://llm.example/v1", body: { model, messages } })) {
 *     switch (event.type) {
 *       case "begun":     break;                              // the first byte is here
 *       case "status":    show(event.text); break;            // an empty text: hide the spinner
 *       case "source":    addChip(event.title, event.url); break;
 *       case "reasoning": break;                              // only where a rule lets it through
 *       case "text":      answer.append(event.text); break;
 *       case "error":     fail(event.message); break;         // nothing follows
 *       case "done":      break;                              // nothing follows
 *     }
 *   }
 *
 * Every text comes from a model: put it into the page with `append` or `textContent`, never as HTML,
 * and link only to a `url` that begins with http: or https:.
 */

/**
 * The events of one answer.
 *
 * `baseUrl` is the sidecar's, up to and with its /v1; `body` is the request, to which `stream` is
 * added; `apiKey` goes out as a bearer token if there is one; `signal` aborts. Throws what `fetch`
 * throws: a TypeError if nobody answers or the connection dies, an AbortError after an abort.
 */
export async function* ask({ baseUrl, body, apiKey = "", headers = {}, signal }) {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      ...(apiKey && { Authorization: `Bearer ${apiKey}` }),
      ...headers,
    },
    body: JSON.stringify({ ...body, stream: true }),
    credentials: "omit",
    signal,
  });
  if (response.ok) {
    yield* events(response.body);
  } else {
    yield failure(errorIn(await response.text()), `The server answered with ${response.status}.`);
  }
}

/** The events in the body of an answer, a ReadableStream of bytes that may be cut anywhere. */
export async function* events(stream) {
  let begun = false;
  let ended = false;
  for await (const { comment, name, data } of frames(stream)) {
    if (ended) continue; // to leave before the server has closed would look like an abort
    if (!begun) yield { type: "begun" };
    begun = true;
    if (comment !== undefined) {
      if (comment.startsWith("status ")) yield* statusEvents(parsed(comment.slice(7)));
    } else if (data === "[DONE]") {
      ended = true;
      yield { type: "done" };
    } else if (name === "status") {
      yield* statusEvents(parsed(data));
    } else {
      const chunk = parsed(data);
      if (chunk?.error || name === "error") {
        ended = true;
        yield failure(chunk?.error, "The answer ended with an error.");
        continue;
      }
      yield* statusEvents(chunk?.sidecar?.status);
      // Of several choices this shows the first.
      const delta = chunk?.choices?.find((choice) => !choice.index)?.delta;
      if (delta?.reasoning_content) yield { type: "reasoning", text: delta.reasoning_content };
      if (delta?.content) yield { type: "text", text: delta.content };
    }
  }
  if (!ended) yield failure(null, "The answer broke off.");
}

/**
 * The frames of a stream of server-sent events (HTML Standard, 9.2): `{ name, data }`, or
 * `{ comment }` for a comment line.
 */
export async function* frames(stream) {
  let name = "";
  let data = [];
  for await (const line of lines(stream)) {
    const [field, value] = split(line);
    if (line === "") {
      if (data.length) yield { name, data: data.join("\n") };
      name = "";
      data = [];
    } else if (field === "") {
      yield { comment: value };
    } else if (field === "data") {
      data.push(value);
    } else if (field === "event") {
      name = value;
    }
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      // A CR at the end may be half of a CRLF: it waits for what follows.
      const complete = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = complete.pop();
      yield* complete;
    }
    if (rest.endsWith("\r")) yield rest.slice(0, -1);
  } finally {
    // Whoever stops listening stops the model, too.
    await reader.cancel();
  }
}

function split(line) {
  const colon = line.indexOf(":");
  return colon < 0 ? [line, ""] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}

function* statusEvents(status) {
  if (status?.source) yield { type: "source", ...status.source };
  else if (status) yield { type: "status", phase: status.phase, text: status.text };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // no SDK shows more of an event that cannot be read
  }
}

function errorIn(text) {
  return parsed(text)?.error;
}

function failure(error, otherwise) {
  return { type: "error", message: error?.message ?? otherwise, code: error?.code ?? null };
}
