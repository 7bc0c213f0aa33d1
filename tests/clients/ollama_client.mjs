// Does the `ollama` npm package work against the daemon? Usage: node ollama_client.mjs URL MODEL
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const SKY = "why is the sky blue?";
const GRASS = "why is the grass green?";
const SKY_TOKENS = 8;
const SIZE = 384;
// The start of the vector that Ollama's own tests expect.
const SKY_START = [0.010071031, -0.0017594865, 0.050072223, 0.046929732, 0.05491682];

const [url, model] = process.argv.slice(2);
const client = new Ollama({ host: url });
const names = async () => (await client.list()).models.map((entry) => entry.name);

function unit(vector, size = SIZE) {
  assert.equal(vector.length, size);
  const length = Math.hypot(...vector);
  assert.ok(Math.abs(length - 1) < 1e-5, `the length of the vector is ${length}`);
}

function near(got, want, tolerance) {
  assert.equal(got.length, want.length);
  const difference = Math.max(...got.map((x, i) => Math.abs(x - want[i])));
  assert.ok(difference <= tolerance, `largest difference ${difference}, allowed ${tolerance}`);
}

function isSky(vector) {
  unit(vector);
  near(vector.slice(0, SKY_START.length), SKY_START, 1e-3);
}

async function fails(status, text, promise) {
  const error = await promise.then(
    (answer) => assert.fail(`no error, but ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.deepEqual([error.status_code, error.message], [status, text]);
}

// Waits for what the daemon does just after it has answered.
async function soon(condition, what) {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`not within 10 s: ${what}`);
}

const checks = {
  async version() {
    const { version } = await client.version();
    assert.match(version, /^\d+\.\d+\.\d+/);
  },
  async list_models() {
    const entry = (await client.list()).models.find((entry) => entry.name === `${model}:latest`);
    assert.equal(entry.model, `${model}:latest`);
    assert.match(entry.digest, /^[0-9a-f]{64}$/);
    assert.ok(Date.parse(entry.modified_at) > 0 && entry.size > 80_000_000, JSON.stringify(entry));
  },
  async show() {
    const shown = await client.show({ model });
    assert.deepEqual(shown.capabilities, ["embedding"]);
    const family = shown.model_info["general.architecture"];
    assert.equal(shown.model_info[`${family}.embedding_length`], SIZE);
  },
  async pull_streams_to_success() {
    const statuses = [];
    for await (const line of await client.pull({ model, stream: true })) statuses.push(line.status);
    assert.equal(statuses[0], "pulling manifest");
    assert.equal(statuses.at(-1), "success");
  },
  async pull_at_once() {
    assert.equal((await client.pull({ model })).status, "success");
  },
  async embed_one() {
    const answer = await client.embed({ model, input: SKY });
    assert.equal(answer.model, model);
    assert.equal(answer.prompt_eval_count, SKY_TOKENS);
    isSky(answer.embeddings[0]);
  },
  async embed_batch_equals_singles() {
    const answer = await client.embed({ model, input: [SKY, GRASS] });
    assert.equal(answer.prompt_eval_count, 2 * SKY_TOKENS);
    for (const [i, input] of [SKY, GRASS].entries()) {
      assert.deepEqual((await client.embed({ model, input })).embeddings[0], answer.embeddings[i]);
    }
  },
  async embeddings() {
    const { embedding } = await client.embeddings({ model, prompt: SKY });
    near(embedding, (await client.embed({ model, input: SKY })).embeddings[0], 1e-7);
  },
  async dimensions() {
    unit((await client.embed({ model, input: SKY, dimensions: 64 })).embeddings[0], 64);
  },
  async options() {
    const cut = await client.embed({ model, input: SKY, options: { num_ctx: 3 } });
    assert.equal(cut.prompt_eval_count, 3);
    const text = "the input length exceeds the context length";
    await fails(400, text, client.embed({ model, input: SKY, truncate: false, options: { num_ctx: 3 } }));
  },
  async keep_alive_and_ps() {
    await client.embed({ model, input: SKY, keep_alive: "10m" });
    const [entry] = (await client.ps()).models;
    assert.equal(entry.name, `${model}:latest`);
    const left = (Date.parse(entry.expires_at) - Date.now()) / 1000;
    assert.ok(left > 590 && left < 601, `${left} s left`);
    await client.embed({ model, input: SKY, keep_alive: 0 });
    await soon(async () => (await client.ps()).models.length === 0, "keep_alive 0 unloads the model");
    assert.equal((await client.generate({ model, prompt: "", keep_alive: 0 })).done_reason, "unload");
    await fails(400, 'time: invalid duration "abc"', client.embed({ model, input: SKY, keep_alive: "abc" }));
  },
  async copy_and_delete() {
    assert.equal((await client.copy({ source: model, destination: "copied" })).status, "success");
    assert.ok((await names()).includes("copied:latest"));
    isSky((await client.embed({ model: "copied", input: SKY })).embeddings[0]);
    assert.equal((await client.delete({ model: "copied" })).status, "success");
    assert.ok(!(await names()).includes("copied:latest"));
  },
  async create_from_a_model() {
    const parameters = { num_ctx: 16 };
    assert.equal((await client.create({ model: "short", from: model, parameters })).status, "success");
    assert.equal((await client.embed({ model: "short", input: "word ".repeat(100) })).prompt_eval_count, 16);
    await client.delete({ model: "short" });
  },
  async errors() {
    await fails(404, 'model "nope" not found, try pulling it first', client.embed({ model: "nope", input: SKY }));
    await fails(404, "model 'nope:latest' not found", client.show({ model: "nope" }));
    await fails(404, "model 'nope' not found", client.delete({ model: "nope" }));
    await fails(400, "invalid model name", client.embed({ model: "a b", input: SKY }));
    await fails(400, `"${model}" does not support generate`, client.generate({ model, prompt: "hello" }));
  },
};

for (const [name, check] of Object.entries(checks)) {
  // A client that waits for ever must not hold the tests up for ever.
  const limit = setTimeout(() => (console.error(`FAILED ${name}: no answer in 120 s`), process.exit(1)), 120_000);
  try {
    await check();
  } catch (error) {
    console.error(`FAILED ${name}: ${error.stack ?? error}`);
    process.exit(1);
  }
  clearTimeout(limit);
  console.log(`ok ${name}`);
}
