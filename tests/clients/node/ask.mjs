// What an application gets from the AI SDK, for each pair of a provider and a model.
// Usage: node ask.mjs '{"origin", "providers": [...], "models": [...], "tool": {"name", "parameters"}}'
// Prints {provider: {model: {streamed, whole}}}, each {text, reasoning, calls, finish, errors, seen}.
import { generateText, jsonSchema, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const asked = JSON.parse(process.argv[2]);
const settings = { name: "sidecar", baseURL: `${asked.origin}/v1`, apiKey: "sk-client" };
const openai = createOpenAI(settings);
const models = {
  "openai.responses": openai.responses,
  "openai.chat": openai.chat,
  "openai-compatible": createOpenAICompatible(settings),
  anthropic: createAnthropic(settings),
};
// Without an execute function a call is the application's business, and the run ends with it.
const tools = { [asked.tool.name]: tool({ inputSchema: jsonSchema(asked.tool.parameters) }) };
const question = { tools, prompt: "?", maxRetries: 0 };
const plain = ({ toolName, input }) => ({ name: toolName, input });

async function streamed(model) {
  const got = { text: "", reasoning: "", calls: [], finish: null, errors: [], seen: [] };
  const { stream } = streamText({
    ...question,
    model,
    include: { rawChunks: true },
    onError() {}, // errors are parts of the stream, too
  });
  for await (const part of stream) {
    got.seen.push(part);
    if (part.type === "text-delta") got.text += part.text;
    else if (part.type === "reasoning-delta") got.reasoning += part.text;
    else if (part.type === "tool-call") got.calls.push(plain(part));
    else if (part.type === "finish") got.finish = part.finishReason;
    else if (part.type === "error") got.errors.push(String(part.error));
  }
  return got;
}

async function whole(model) {
  try {
    const { text, content, toolCalls, finishReason, response } = await generateText({
      ...question,
      model,
      include: { responseBody: true },
    });
    const thoughts = content.filter((part) => part.type === "reasoning");
    const reasoning = thoughts.map((part) => part.text).join("");
    const calls = toolCalls.map(plain);
    return { text, reasoning, calls, finish: finishReason, errors: [], seen: [content, response] };
  } catch (error) {
    return { errors: [String(error)] };
  }
}

const answers = {};
for (const provider of asked.providers) {
  answers[provider] = {};
  for (const name of asked.models) {
    const model = models[provider](name);
    answers[provider][name] = { streamed: await streamed(model), whole: await whole(model) };
  }
}
console.log(JSON.stringify(answers));
