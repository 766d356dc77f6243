// What an application gets from clients in Node, for each question.
// Usage: node statuses.mjs '{"origin", "tool": {"name", "parameters"}, "questions": [{"client", "path",
// "model", "headers"}]}'
// Prints for each {form, text, reasoning, calls, finish, usage}, or {form, events, comments}, or
// {error}.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, streamText, tool } from "ai";
import { createParser } from "eventsource-parser";
import OpenAI from "openai";

const asked = JSON.parse(process.argv[2]);
const { name, parameters } = asked.tool;
const nested = { type: "function", function: asked.tool };
const flat = { type: "function", name, parameters, strict: true };
const messages = [{ role: "user", content: "?" }];
const bodies = {
  "/v1/chat/completions": { messages, tools: [nested], stream_options: { include_usage: true } },
  "/v1/completions": { prompt: "?" },
  "/v1/responses": { input: "?", tools: [flat], store: false },
  "/v1/messages": { messages, max_tokens: 1000, tools: [{ name, input_schema: parameters }] },
};
const chat = bodies["/v1/chat/completions"];
const responses = bodies["/v1/responses"];
const nothing = () => ({ text: "", reasoning: "", calls: [], finish: null, usage: null });
const plain = ({ name, arguments: said }) => ({ name, input: JSON.parse(said) });

async function chatByHand(client, model) {
  const got = nothing();
  const calls = [];
  const stream = await client.chat.completions.create({ ...chat, model, stream: true });
  for await (const { choices, usage } of stream) {
    if (usage) got.usage = [usage.prompt_tokens, usage.completion_tokens];
    if (choices.length === 0) continue;
    const { delta, finish_reason } = choices[0];
    got.text += delta.content ?? "";
    got.reasoning += delta.reasoning_content ?? "";
    for (const { index, function: piece } of delta.tool_calls ?? []) {
      calls[index] ??= { name: piece.name, arguments: "" };
      calls[index].arguments += piece.arguments;
    }
    got.finish = finish_reason ?? got.finish;
  }
  return { ...got, calls: calls.map(plain) };
}

async function chatByHelper(client, model) {
  const got = nothing();
  const stream = client.chat.completions.stream({ ...chat, model });
  for await (const { choices } of stream) {
    got.reasoning += choices[0]?.delta.reasoning_content ?? "";
  }
  const { choices, usage } = await stream.finalChatCompletion();
  const { message, finish_reason: finish } = choices[0];
  const calls = (message.tool_calls ?? []).map((call) => plain(call.function));
  const counted = [usage.prompt_tokens, usage.completion_tokens];
  return { ...got, text: message.content, calls, finish, usage: counted };
}

function ofResponse({ output, status, usage }) {
  const parts = output.flatMap((item) => (item.type === "message" ? item.content : []));
  const thoughts = output.flatMap((item) => (item.type === "reasoning" ? item.summary : []));
  const calls = output.filter((item) => item.type === "function_call").map(plain);
  const [text, reasoning] = [parts, thoughts].map((all) => all.map((one) => one.text).join(""));
  return { text, reasoning, calls, finish: status, usage: [usage.input_tokens, usage.output_tokens] };
}

async function responsesByHand(client, model) {
  let text = "";
  let last = null;
  const stream = await client.responses.create({ ...responses, model, stream: true });
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event.response ?? last;
  }
  if (last.error) throw new Error(last.error.message);
  return { ...ofResponse(last), text };
}

async function responsesByHelper(client, model) {
  const stream = client.responses.stream({ ...responses, model });
  let text = "";
  for await (const event of stream) {
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  return { ...ofResponse(await stream.finalResponse()), text };
}

async function aiSdk(model) {
  const got = nothing();
  const errors = [];
  const { stream } = streamText({
    model,
    prompt: "?",
    maxRetries: 0,
    // Without an execute function a call is the application's business, and the run ends with it.
    tools: { [name]: tool({ inputSchema: jsonSchema(parameters) }) },
    onError() {}, // errors are parts of the stream, too
  });
  for await (const part of stream) {
    if (part.type === "text-delta") got.text += part.text;
    else if (part.type === "reasoning-delta") got.reasoning += part.text;
    else if (part.type === "tool-call") got.calls.push({ name: part.toolName, input: part.input });
    else if (part.type === "error") errors.push(part.error);
    else if (part.type === "finish") {
      got.finish = part.finishReason;
      got.usage = [part.totalUsage.inputTokens, part.totalUsage.outputTokens];
    }
  }
  if (errors.length > 0) throw errors[0];
  return got;
}

async function parsed(response) {
  const got = { events: [], comments: [] };
  const parser = createParser({
    onEvent: ({ event, data }) => got.events.push([event ?? "", data]),
    onComment: (comment) => got.comments.push(comment),
    onError(error) {
      throw error;
    },
  });
  const decoder = new TextDecoder();
  for await (const chunk of response.body) parser.feed(decoder.decode(chunk, { stream: true }));
  return got;
}

const baseURL = `${asked.origin}/v1`;
const settings = { name: "sidecar", baseURL, apiKey: "k" };
const sdk = (options) => new OpenAI({ ...options, defaultHeaders: options.headers, maxRetries: 0 });
const clients = {
  "openai-node": (options, { model }) => chatByHand(sdk(options), model),
  "openai-node.stream": (options, { model }) => chatByHelper(sdk(options), model),
  "openai-node.responses": (options, { model }) => responsesByHand(sdk(options), model),
  "openai-node.responses.stream": (options, { model }) => responsesByHelper(sdk(options), model),
  "ai.openai.chat": (options, { model }) => aiSdk(createOpenAI(options).chat(model)),
  "ai.openai.responses": (options, { model }) => aiSdk(createOpenAI(options).responses(model)),
  "ai.openai-compatible": (options, { model }) => aiSdk(createOpenAICompatible(options)(model)),
  "ai.anthropic": (options, { model }) => aiSdk(createAnthropic(options)(model)),
  "eventsource-parser": async ({ fetch, headers }, { path, model }) => {
    const body = JSON.stringify({ ...bodies[path], model, stream: true });
    const all = { "content-type": "application/json", ...headers };
    return parsed(await fetch(asked.origin + path, { method: "POST", headers: all, body }));
  },
};

async function answer(question) {
  let form = null;
  const hear = async (...request) => {
    const response = await fetch(...request);
    form = response.headers.get("x-sidecar-status");
    return response;
  };
  try {
    const options = { ...settings, headers: question.headers, fetch: hear };
    const got = await clients[question.client](options, question);
    return { form, ...got };
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

console.log(JSON.stringify(await Promise.all(asked.questions.map(answer))));
