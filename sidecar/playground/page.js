/**
 * The playground's page: the form, one run at a time, and its two sides.
 *
 * The right side is a client like any other (client.js). The left side is told by the sidecar's
 * engine, piece by piece, what the model wrote and in which channel. Both come from one answer.
 */

import { ask, frames } from "./client.js";
import { Axis, seconds } from "./axis.js";

const LABELS = {
  reasoning: "reasoning",
  tool_call: "tool call",
  tool_result: "tool result",
  markup: "markup",
};
const PATIENCE = 2000; // milliseconds for the list of models, without which the form works, too
const MAX_MODELS = 500;

const $ = (id) => document.getElementById(id);
const axis = new Axis($("axis"), $("marks"));
const panes = { raw: pane($("raw")), answer: pane($("answer")) };
let transcripts = [];
let running = null;

// --- the form -----------------------------------------------------------------------------------

async function prepare() {
  const [rules, models] = await Promise.all([listed("playground/rules"), listed("v1/models")]);
  for (const name of rules.rules ?? []) $("rule").append(new Option(name, name));
  $("rule-field").hidden = (rules.rules ?? []).length < 2;
  showModels(models.data ?? []);
  $("main").hidden = false;
}

function showModels(models) {
  const named = models.filter((model) => typeof model?.id === "string").slice(0, MAX_MODELS);
  // Models that recite an answer say what they were asked.
  transcripts = named.filter((model) => typeof model.prompt === "string");
  const recites = transcripts.length > 0;
  $("transcripts").hidden = !recites;
  $("free").hidden = recites;
  $("free").querySelectorAll("[required]").forEach((field) => (field.disabled = recites));
  $("cards").replaceChildren(...transcripts.map(card));
  $("asked").textContent = transcripts[0]?.prompt ?? "";
  $("models").replaceChildren(...named.map((model) => new Option(model.id)));
  if (!$("model").value && named.length) $("model").value = named[0].id;
}

function card(model, index) {
  const input = Object.assign(document.createElement("input"), {
    type: "radio",
    name: "transcript",
    value: model.id,
    checked: index === 0,
  });
  const label = document.createElement("label");
  const text = document.createElement("span");
  text.append(made("b", model.name ?? model.id), made("small", model.description ?? ""));
  label.append(input, text);
  return label;
}

async function listed(url) {
  const key = $("key").value;
  try {
    const response = await fetch(url, {
      headers: key ? { Authorization: `Bearer ${key}` } : {},
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE),
    });
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

function asked() {
  const chosen = document.querySelector("input[name=transcript]:checked");
  const transcript = transcripts.find((model) => model.id === chosen?.value);
  return {
    model: transcript?.id ?? $("model").value,
    messages: [{ role: "user", content: transcript?.prompt ?? $("prompt").value }],
  };
}

// --- a run --------------------------------------------------------------------------------------

async function run() {
  running?.abort();
  const controller = (running = new AbortController());
  const { signal } = controller;
  const name = Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join("");
  clear();
  $("stop").disabled = false;
  // On a phone they are below the form.
  if ($("sides").getBoundingClientRect().top > innerHeight * 0.7) $("sides").scrollIntoView();
  try {
    const raw = await fetch(`playground/runs/${name}`, { credentials: "omit", signal });
    if (!raw.ok) throw new Error((await raw.json()).error.message);
    axis.start();
    const [isRead] = await Promise.all([showRaw(raw.body), showAnswer(name, signal)]);
    explain(isRead);
  } catch (error) {
    if (running === controller) tell(signal.aborted ? "Stopped." : "");
    if (!signal.aborted) panes.answer.fail(error.message);
  }
  controller.abort(); // of two requests, one may be left
  if (running !== controller) return;
  axis.stop();
  $("stop").disabled = true;
  running = null;
}

/** Returns whether a rule was about the answer, so that it was read. */
async function showRaw(body) {
  let isRead = false;
  for await (const { data } of frames(body)) {
    if (data === undefined) continue;
    const record = JSON.parse(data);
    if (record.channel) {
      const isBlank = !record.text.trim();
      if (record.channel === "reasoning" && !isBlank) axis.mark("model", "first_reasoning");
      if (record.channel === "content" && !isBlank) axis.mark("model", "first_visible");
      if (record.channel !== "separator") axis.paint("model", record.channel);
      panes.raw.add(record.text, record.channel);
    } else if (record.error) {
      panes.raw.fail(record.error);
    } else {
      axis.mark("model", record.mark);
      isRead = record.read ?? isRead;
    }
  }
  return isRead;
}

/** Why the left side is empty, if it is. */
function explain(isRead) {
  if (axis.has("model", "first_byte")) return;
  $("raw-note").textContent =
    isRead || !axis.has("client", "first_byte")
      ? "The model streamed nothing."
      : "No rule is about this answer: the client gets it as it is.";
}

async function showAnswer(name, signal) {
  const rule = $("rule").value;
  const events = ask({
    baseUrl: "v1",
    body: asked(),
    apiKey: $("key").value,
    headers: { "X-Sidecar-Run": name, ...(rule && { "X-Sidecar-Rule": rule }) },
    signal,
  });
  for await (const event of events) {
    switch (event.type) {
      case "begun":
        axis.mark("client", "first_byte");
        break;
      case "status":
        if (event.text) axis.mark("client", "first_status");
        axis.paint("client", event.text ? "status" : null);
        tell(event.text, { look: event.text && "busy" });
        break;
      case "source":
        addSource(event);
        break;
      case "reasoning":
        axis.mark("client", "first_reasoning");
        axis.paint("client", "reasoning");
        panes.answer.add(event.text, "reasoning");
        break;
      case "text":
        if (event.text.trim()) axis.mark("client", "first_visible");
        axis.paint("client", "content");
        panes.answer.add(event.text, "content");
        break;
      case "error":
        panes.answer.fail(event.message);
        tell("The answer failed.");
        axis.paint("client", null);
        break;
      case "done":
        axis.mark("client", "done");
        tell(`Done after ${seconds(axis.elapsed())}`, { look: "done" });
        break;
    }
  }
}

function clear() {
  panes.raw.clear();
  panes.answer.clear();
  $("sources").replaceChildren();
  $("raw-note").textContent = "";
  axis.reset();
  tell("");
}

/** One line for the reader; `look` is that of the spinner: busy, done, or none. */
function tell(text, { look = "" } = {}) {
  $("status").textContent = text;
  $("spinner").className = `spinner ${look}`;
}

function addSource({ title, url }) {
  if (!/^https?:/i.test(url)) return;
  const link = made("a", title || new URL(url).hostname);
  Object.assign(link, { href: url, target: "_blank", rel: "noopener noreferrer nofollow" });
  const item = document.createElement("li");
  item.append(link);
  $("sources").append(item);
}

// --- a pane -------------------------------------------------------------------------------------

/** A pane whose text grows at its end, and which follows it unless somebody has scrolled up. */
function pane(box) {
  let last = null;
  let follows = true;
  box.addEventListener("scroll", () => {
    follows = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  });
  function append(node) {
    box.append(node);
    return node;
  }
  return {
    add(text, channel) {
      if (last?.dataset.channel === channel) {
        last.firstChild.appendData(text);
      } else {
        last = append(made("span", text));
        last.dataset.channel = channel;
        if (LABELS[channel]) last.title = last.dataset.label = LABELS[channel];
      }
      if (follows) box.scrollTop = box.scrollHeight;
    },
    fail(message) {
      last = null;
      append(made("p", message)).className = "error";
      box.scrollTop = box.scrollHeight;
    },
    clear() {
      last = null;
      follows = true;
      box.replaceChildren();
    },
  };
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function hex(byte) {
  return byte.toString(16).padStart(2, "0");
}

// --- what a person does -------------------------------------------------------------------------

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
$("stop").addEventListener("click", () => running?.abort());
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
$("key").addEventListener("change", async () => showModels((await listed("v1/models")).data ?? []));
$("cards").addEventListener("change", () => ($("asked").textContent = asked().messages[0].content));

prepare();
