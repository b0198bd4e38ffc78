// The state behind the whole page, read from the service every two seconds while it is visible.

import * as api from "./api.js";
import { Figures } from "./figures.js";
import { accountName } from "./words.js";

const EVERY_MS = 2000;
const CONNECTIONS_EVERY_MS = 10_000;

export class Live extends EventTarget {
  figures = new Figures();
  status = null;
  connections = null;
  sent = []; // in the sandbox: the test messages of this session, the latest first
  trouble = null; // why the last reading failed
  updatedAt = null;
  #timer = null;
  #isReading = false;
  #isStopped = false;
  #connectionsAt = 0;
  #onRefused;

  // `context` are the service's rules; `onRefused` is called when the key is refused.
  constructor(context, onRefused) {
    super();
    this.context = context;
    this.#onRefused = onRefused;
  }

  start() {
    document.addEventListener("visibilitychange", this.#look);
    this.#look();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.#look);
    clearTimeout(this.#timer);
    this.#isStopped = true;
  }

  async readConnections() {
    const { connections } = await api.get("connections");
    this.connections = connections;
    this.#connectionsAt = Date.now();
    this.changed();
  }

  // Reports a refused key, which ends the session; other trouble is the caller's.
  refused(trouble) {
    if (trouble instanceof api.Trouble && trouble.isRefusal) this.#onRefused(trouble);
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  connection(igAccountId) {
    return this.connections?.find((c) => c.igAccountId === igAccountId) ?? null;
  }

  // What an account is called: @name where it is known, else its id.
  accountName(igAccountId) {
    return accountName(this.connection(igAccountId) ?? { igAccountId });
  }

  // Seconds since the last complete reading, even while one is in progress.
  get silentS() {
    return this.updatedAt ? (Date.now() - this.updatedAt) / 1000 : 0;
  }

  #look = async () => {
    if (document.hidden || this.#isReading || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#isReading = true;
    const began = Date.now();
    await this.#read(began);
    this.#isReading = false;
    if (this.#isStopped) return;
    this.changed();
    this.#timer = setTimeout(this.#look, Math.max(0, EVERY_MS - (Date.now() - began)));
  };

  async #read(began) {
    try {
      await this.#readAll(began);
      this.trouble = null;
      this.updatedAt = new Date();
    } catch (trouble) {
      if (!(trouble instanceof api.Trouble)) throw trouble;
      this.trouble = trouble;
      this.refused(trouble);
    }
  }

  async #readAll(began) {
    const [text, status] = await Promise.all([api.metrics(), api.get("status")]);
    this.figures.add(text, began / 1000);
    this.figures.addHistory(status.history, began / 1000);
    const isChanged = JSON.stringify(status.pauses) !== JSON.stringify(this.status?.pauses);
    this.status = status;
    const isDue = isChanged || began - this.#connectionsAt > CONNECTIONS_EVERY_MS;
    if (isDue && status.postgres === "ok") await this.readConnections();
  }
}
