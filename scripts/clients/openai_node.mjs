// The openai Node client. Run with the directory that holds node_modules as the first argument.
import { createRequire } from "node:module";
import path from "node:path";

const load = createRequire(path.join(process.argv[2], "package.json"));
const OpenAI = load("openai");
const { WARMROUTE_URL, WARMROUTE_ECHO_URL, WARMROUTE_WORKER_URLS } = process.env;
const model = "emulated";
const messages = [{ role: "user", content: "Say something about caches." }];
const client = new OpenAI({ baseURL: `${WARMROUTE_URL}/v1`, apiKey: "none", maxRetries: 0, timeout: 20_000 });
const echo = new OpenAI({ baseURL: `${WARMROUTE_ECHO_URL}/v1`, apiKey: "none", maxRetries: 0, timeout: 20_000 });
const weather = { type: "function", function: { name: "weather", parameters: { type: "object", properties: { place: { type: "string" } } } } };

const must = (truth, what) => {
  if (!truth) throw new Error(what);
};

const raises = async (kind, act) => {
  try {
    await act();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`${kind.name} was expected`);
};

// All workers fail in this way while the act runs.
const under = async (fault, act) => {
  const workers = WARMROUTE_WORKER_URLS.split(",");
  for (const url of workers) await fetch(`${url}/faults`, { method: "POST", body: JSON.stringify({ fault }) });
  try {
    return await act();
  } finally {
    for (const url of workers) await fetch(`${url}/faults`, { method: "DELETE" });
  }
};

const chat = (more, options) => client.chat.completions.create({ model, messages, ...more }, options);

const checks = {
  "lists the models": async () => {
    const list = await client.models.list();
    must(list.data.some(({ id }) => id === model), "the model is not in the list");
  },
  "chats, and usage adds up": async () => {
    const { choices, usage } = await chat({ max_tokens: 12 });
    must(choices[0].message.content, "no text");
    must(usage.completion_tokens === 12 && usage.total_tokens === usage.prompt_tokens + 12, JSON.stringify(usage));
  },
  "streams, with usage at the end": async () => {
    let [text, last] = ["", null];
    for await (const chunk of await chat({ max_tokens: 12, stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      last = chunk;
    }
    must(text && last.usage.completion_tokens === 12, JSON.stringify(last));
  },
  "leaves in the middle of a stream": async () => {
    const stream = await chat({ max_tokens: 100_000, stream: true });
    for await (const _ of stream) break;
    stream.controller.abort();
    must((await chat({ max_tokens: 2 })).choices.length === 1, "the fleet does not go on");
  },
  "passes tools and tool calls, whole and streamed": async () => {
    const whole = await echo.chat.completions.create({ model: "echo", messages, tools: [weather] });
    const call = whole.choices[0].message.tool_calls[0].function;
    must(JSON.stringify(JSON.parse(call.arguments).tools) === JSON.stringify([weather]), call.arguments);
    let streamed = "";
    for await (const chunk of await echo.chat.completions.create({ model: "echo", messages, tools: [weather], stream: true })) {
      for (const piece of chunk.choices[0].delta.tool_calls ?? []) streamed += piece.function.arguments;
    }
    must(JSON.stringify(JSON.parse(streamed).tools) === JSON.stringify([weather]), streamed);
  },
  "an unknown model is NotFoundError that names those known": async () => {
    const error = await raises(OpenAI.NotFoundError, () => client.chat.completions.create({ model: "nobody", messages }));
    must(error.code === "model_not_found" && error.message.includes(model), error.message);
  },
  "what an engine refuses is BadRequestError": () => raises(OpenAI.BadRequestError, () => chat({ max_tokens: 100_000_000 })),
  "too many requests is RateLimitError": () => under("status_429", () => raises(OpenAI.RateLimitError, () => chat({ max_tokens: 2 }))),
  "a stream that breaks is an error, not an end": () =>
    under("reset_midway", () =>
      raises(Error, async () => {
        for await (const _ of await chat({ max_tokens: 50, stream: true }));
      }),
    ),
  "a timeout is APIConnectionTimeoutError, and the fleet goes on": async () => {
    await under("stall", () => raises(OpenAI.APIConnectionTimeoutError, () => chat({ max_tokens: 2 }, { timeout: 1_000 })));
    must((await chat({ max_tokens: 2 })).choices.length === 1, "the fleet does not go on");
  },
  "stops waiting when it is told to": () =>
    under("stall", () => raises(OpenAI.APIUserAbortError, () => chat({ max_tokens: 2 }, { signal: AbortSignal.timeout(300) }))),
};

let failed = 0;
for (const [sentence, act] of Object.entries(checks)) {
  try {
    await act();
    console.log(`ok      openai (Node): ${sentence}`);
  } catch (error) {
    failed += 1;
    console.log(`failed  openai (Node): ${sentence}: ${error.name}: ${error.message}`.slice(0, 500));
  }
}
process.exit(failed ? 1 : 0);
