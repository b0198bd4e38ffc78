// The operator console: asks for a key, then shows the view that the address names.

import { html, render, useChanges, useEffect, useRef, useState, useTicks } from "./preact.js";
import * as api from "./api.js";
import { Accounts } from "./accounts.js";
import { Backfill, forgetBackfills, resumeBackfills } from "./backfill.js";
import { Health, needs } from "./health.js";
import { Live } from "./live.js";
import { Time } from "./parts.js";
import { People } from "./people.js";
import { Breaking } from "./breaking.js";
import { Sandbox } from "./sandbox.js";
import { age, plural } from "./words.js";

const SILENT_S = 6; // a reading every two seconds, and some time for one to come

const VIEWS = [
  { name: "health", title: "Health", View: Health },
  { name: "people", title: "People", View: People },
  { name: "accounts", title: "Accounts", View: Accounts },
  { name: "backfill", title: "Backfill", View: Backfill },
  { name: "sandbox", title: "Test DM", View: Sandbox, isOfSandbox: true },
  { name: "breaking", title: "Break Meta", View: Breaking, isOfSandbox: true },
];

// In the sandbox the page opens signed in, once: after "Sign out" it asks for a key.
let entersByItself = "sandbox" in document.documentElement.dataset;

function Console() {
  const [live, setLive] = useState(null);
  const [said, setSaid] = useState("");
  const leave = (why = "") => {
    api.key.forget();
    forgetBackfills();
    setSaid(why);
    setLive(null);
  };
  const enter = (context) => setLive(new Live(context, (trouble) => leave(trouble.message)));
  return live
    ? html`<${Desk} live=${live} onLeave=${() => leave()} />`
    : html`<${SignIn} said=${said} onEnter=${enter} />`;
}

function SignIn({ said, onEnter }) {
  const input = useRef(null);
  const [fault, setFault] = useState(said);
  const [busy, setBusy] = useState(Boolean(api.key.read()));
  const [isEntering, setEntering] = useState(entersByItself && !api.key.read());
  const enter = async (given) => {
    setBusy(true);
    try {
      const context = await api.context(given);
      api.key.keep(given);
      onEnter(context);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      setFault(error.message);
      setBusy(false);
      input.current?.select();
    }
  };
  useEffect(() => {
    document.title = "Console · Instagram identity";
    if (api.key.read()) enter(api.key.read()); // this tab was reloaded
    else if (isEntering) enterByItself();
    entersByItself = false;
  }, []);
  useEffect(() => {
    if (!isEntering && !api.key.read()) input.current.focus();
  }, [isEntering]);
  const enterByItself = async () => {
    const given = await api.sandboxKey().catch((error) => {
      if (!(error instanceof api.Trouble)) throw error;
      return null; // not the browser of the person who runs it: the form asks for a key
    });
    if (given) await enter(given);
    setEntering(false);
  };
  const submit = (event) => {
    event.preventDefault();
    const given = input.current.value.trim();
    if (!given) setFault("Type an operator key.");
    else if (!/^[\x21-\x7e]+$/.test(given)) setFault("A key has letters, digits and signs only, no spaces.");
    else enter(given);
  };
  if (isEntering) return html`<main id="main" class="sign-in"><p role="status">Signing in to the sandbox …</p></main>`;
  return html`
    <main id="main" class="sign-in">
      <form class="panel form" onSubmit=${submit}>
        <${Mark} />
        <h1>Instagram identity</h1>
        <p class="hint">Operator console</p>
        <label class="field">
          <span class="label">Operator key</span>
          <input ref=${input} type="password" autocomplete="off" spellcheck="false"
            aria-invalid=${fault ? "true" : null} aria-describedby="key-fault" />
        </label>
        <p id="key-fault" class="fault" role="alert">${fault}</p>
        <button class="primary" disabled=${busy}>${busy ? "One moment …" : "Open the console"}</button>
        <p class="hint">The key stays in this tab and is forgotten when the tab is closed.</p>
      </form>
    </main>
  `;
}

function Desk({ live, onLeave }) {
  const [{ name, asked, query }, setRoute] = useState(route());
  const views = VIEWS.filter((view) => !view.isOfSandbox || live.context.sandbox);
  const { View, title, name: current } = views.find((view) => view.name === name) ?? views[0];
  useEffect(() => {
    const follow = () => location.hash !== "#main" && setRoute(route());
    addEventListener("hashchange", follow);
    follow(); // the address can have changed before the listener was added
    live.start();
    resumeBackfills();
    return () => {
      removeEventListener("hashchange", follow);
      live.stop();
    };
  }, [live]);
  useEffect(() => {
    document.title = `${title} · Instagram identity`;
    const isTyping = document.activeElement?.matches("input, select, button");
    if (!isTyping) /** @type {HTMLElement | null} */ (document.querySelector("main h2"))?.focus({ preventScroll: true });
  }, [current]);
  return html`
    <header class="bar">
      <div class="bar-inner">
        <span class="brand"><${Mark} /><span><b>Instagram identity</b><${Pulse} live=${live} /></span></span>
        <nav aria-label="Views">
          ${views.map((view) => html`
            <a href="#${view.name}" aria-current=${view.name === current ? "page" : null}>
              ${view.title}${view.name === "health" && html`<${Needs} live=${live} />`}
            </a>`)}
        </nav>
        <button class="quiet" onClick=${onLeave}>Sign out</button>
      </div>
    </header>
    <main id="main" tabindex="-1">
      <${View} live=${live} asked=${asked} query=${query} />
    </main>
    <div id="announcer" class="unseen" role="status" aria-live="polite"></div>
  `;
}

// The view that the address names, what is asked of it, and its filters: #people/@jane, #people?named=false
function route() {
  const [path, text = ""] = location.hash.slice(1).split("?", 2);
  const [name, asked = ""] = path.split("/").map(decoded);
  return { name, asked, query: new URLSearchParams(text) };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone % that somebody typed
  }
}

function Pulse({ live }) {
  useChanges(live);
  useTicks(1000);
  const { trouble, updatedAt, silentS } = live;
  if (!updatedAt) return html`<small class="pulse"><i></i>${trouble ? "no answer" : "connecting"}</small>`;
  if (trouble) return html`<small class="pulse bad"><i></i>no answer since <${Time} at=${updatedAt} seconds /></small>`;
  return silentS > SILENT_S && !document.hidden
    ? html`<small class="pulse bad"><i></i>no answer for ${age(silentS)}</small>`
    : html`<small class="pulse good"><i></i>live</small>`;
}

function Needs({ live }) {
  useChanges(live);
  const { n, kind } = needs(live);
  return n > 0 && html`<span class="count ${kind}" title=${plural(n, "thing to look at", "things to look at")}>${n}</span>`;
}

function Mark() {
  return html`<img class="mark" src="static/console/icon.svg" alt="" width="32" height="32" />`;
}

render(html`<${Console} />`, document.getElementById("console"));
