// The service's own HTTP, with the operator's key. The key lives in this tab alone.

const KEY = "operator-key";
const WITHIN_MS = 15_000;
const MARGIN_MS = 60_000; // of a grant, for a page that is slow

let grant = null;

export const key = {
  read: () => sessionStorage.getItem(KEY) ?? "",
  keep: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// Why a request failed, in words for an operator; `status` is 0 if there was no answer.
export class Trouble extends Error {
  constructor(status, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }

  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

const WORDS = {
  401: "The service does not know this key. Operator keys are in its OPERATOR_API_KEYS setting.",
  403: "This is an inbox key. The console needs an operator key.",
  429: "Too many wrong keys came from this address. Wait a minute, then try again.",
};

export function get(path, options) {
  return json("GET", `api/social/instagram/${path}`, options);
}

export function post(path, options) {
  return json("POST", `api/social/instagram/${path}`, options);
}

// `isNew` refuses to replace what is there already.
export function put(path, body, { isNew = false } = {}) {
  return json("PUT", `api/social/instagram/${path}`, { body, more: isNew ? { "If-None-Match": "*" } : {} });
}

export function patch(path, body) {
  return json("PATCH", `api/social/instagram/${path}`, { body });
}

export async function erase(path) {
  await send("DELETE", `api/social/instagram/${path}`);
}

// The service's settings that the console needs; the first request, so it also checks the key.
export function context(given) {
  return json("GET", "console/context", { given });
}

export function sandbox(body) {
  return body ? json("POST", "console/sandbox/messages", { body }) : json("GET", "console/sandbox");
}

// In the sandbox only: the operator's key, for a browser of the person who runs it.
export async function sandboxKey() {
  return (await json("GET", "console/sandbox/key")).key;
}

// In the sandbox only: the answers that the simulator can give, and the current one.
export const meta = {
  answers: () => json("GET", "console/sandbox/answers"),
  choose: (body) => json("PUT", "console/sandbox/answer", { body }),
  mend: () => json("DELETE", "console/sandbox/answer"),
  endPauses: () => json("DELETE", "console/sandbox/pauses"),
};

// The address of a picture for an `<img>`, which can send no key: a grant goes with it.
export async function pictureAddress(path) {
  if (!grant || grant.endsAt < Date.now() + MARGIN_MS) {
    const made = await post("grants", { body: { expiresIn: 3600 } });
    grant = { text: made.grant, endsAt: new Date(made.expiresAt).getTime() };
  }
  const address = new URL(path.replace(/^\/+/, ""), document.baseURI);
  address.searchParams.set("grant", grant.text);
  return address.href;
}

export async function metrics() {
  return (await send("GET", "metrics")).text();
}

async function json(method, path, options) {
  return (await send(method, path, options)).json();
}

async function send(method, path, options = {}) {
  const { body, given = key.read(), signal, withinMs = WITHIN_MS, more = {} } = options;
  const headers = { Authorization: `Bearer ${given}`, ...more };
  if (body) headers["Content-Type"] = "application/json";
  const late = AbortSignal.timeout(withinMs);
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method,
      headers,
      body: body ? JSON.stringify(body) : undefined,
      signal: signal ? AbortSignal.any([signal, late]) : late,
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const isLate = error.name === "TimeoutError";
    throw new Trouble(0, isLate ? "The service did not answer in time." : "The service can't be reached.");
  }
  if (!response.ok) throw await trouble(response);
  return response;
}

async function trouble(response) {
  const problem = await response.json().catch(() => ({}));
  const words = WORDS[response.status] ?? problem.detail ?? `The service answered ${response.status}.`;
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new Trouble(response.status, words, retryAfter || null);
}
