// One person: who it is, what has become of the fetches, and what can be done.

import { html, useChanges, useEffect, useRef, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Dialog, Empty, Note, Panel, Time, announce } from "./parts.js";
import { nextTry, plural, reasonSays } from "./words.js";

const ID = /^[0-9]{1,32}$/;
const STATES = {
  resolved: { kind: "good", says: "Known" },
  pending: { kind: "warn", says: "No name yet" },
  failed: { kind: "bad", says: "Given up" },
  unknown: { kind: "quiet", says: "Never heard of" },
};
const OF_ACCOUNTS = new Set(["token_invalid", "permission", "no_connection", "throttled", "outage", "bad_request", "policy_block"]);

export function People({ live, asked }) {
  return html`
    <h2 tabindex="-1">People</h2>
    <${Search} asked=${asked} />
    ${asked && ID.test(asked)
      ? html`<${Person} key=${asked} live=${live} igUserId=${asked} />`
      : html`<${Empty}>Look somebody up by the Instagram-scoped id: the number that webhooks, the
          inbox and the log carry.<//>`}
  `;
}

function Search({ asked }) {
  const input = useRef(null);
  const [fault, setFault] = useState("");
  useEffect(() => {
    if (!asked) input.current.focus();
  }, []);
  const search = (event) => {
    event.preventDefault();
    const wanted = input.current.value.replace(/\s/g, "");
    setFault(ID.test(wanted) ? "" : "An id is 1 to 32 digits.");
    if (ID.test(wanted)) location.hash = `people/${wanted}`;
  };
  return html`
    <form class="search" role="search" onSubmit=${search}>
      <label class="label" for="user-id">User id</label>
      <div class="search-row">
        <input id="user-id" ref=${input} type="text" inputmode="numeric" autocomplete="off"
          spellcheck="false" placeholder="1254459154682919" value=${asked}
          aria-invalid=${fault ? "true" : null} aria-describedby="user-id-fault" />
        <button class="primary">Look up</button>
      </div>
      <p id="user-id-fault" class="fault" role="alert">${fault}</p>
    </form>
  `;
}

function Person({ live, igUserId }) {
  useChanges(live); // the card keeps up while it is looked at
  const [identity, setIdentity] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const [busy, setBusy] = useState("");
  const [asks, setAsks] = useState(false);
  const [erased, setErased] = useState(false);

  const attempt = async (work) => {
    try {
      await work();
      setTrouble(null);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    }
  };
  const lookUp = () => attempt(async () => setIdentity(await api.get(`users/${igUserId}`)));
  useEffect(() => {
    if (!busy && !erased) lookUp();
  }, [live.updatedAt]);

  const refresh = async () => {
    setBusy("refresh");
    await attempt(async () => {
      const fresh = await api.post(`users/${igUserId}/refresh`);
      setIdentity(fresh);
      announce(`${fresh.displayName}: ${STATES[fresh.state].says}`);
    });
    setBusy("");
  };
  const erase = async () => {
    setAsks(false);
    setBusy("erase");
    await attempt(async () => {
      await api.erase(`users/${igUserId}`);
      setErased(true);
      announce("Erased.");
    });
    setBusy("");
  };

  if (erased) return html`<${Note} kind="good" role="status" title="Erased">Nothing is held about ${igUserId} any more.<//>`;
  return html`
    ${trouble && html`<${Note} role="alert" title=${trouble.message}>${trouble.status === 404
      ? "Only people who have written can be refreshed." : "The console tries again."}<//>`}
    ${identity
      ? html`<${Card} identity=${identity} context=${live.context} busy=${busy}
          onRefresh=${refresh} onErase=${() => setAsks(true)} />`
      : !trouble && html`<${Empty}>Looking ${igUserId} up …<//>`}
    ${asks && html`<${EraseDialog} identity=${identity} onClose=${() => setAsks(false)} onErase=${erase} />`}
  `;
}

function Card({ identity, context, busy, onRefresh, onErase }) {
  const { kind, says } = STATES[identity.state];
  return html`
    <article class="panel person" aria-busy=${busy ? "true" : null}>
      <header class="who">
        <${Picture} key=${identity.pictureUrl} identity=${identity} />
        <div class="who-text">
          <h3>${identity.displayName}</h3>
          ${identity.name && html`<p>${identity.name}</p>`}
          <p class="id">${identity.igUserId}</p>
        </div>
        <div class="badges">
          <${Badge} kind=${kind}>${says}<//>
          ${identity.stale && html`<${Badge} kind="warn">Stale<//>`}
        </div>
      </header>
      <div class="story">${story(identity, context).map((sentence) => html`<p>${sentence}</p>`)}</div>
      <${Facts} identity=${identity} context=${context} />
      <footer class="actions">
        <button class="primary" onClick=${onRefresh} disabled=${Boolean(busy) || identity.state === "unknown"}>
          ${busy === "refresh" ? "Asking Meta …" : "Refresh"}
        </button>
        <button class="danger" onClick=${onErase} disabled=${Boolean(busy)}>Erase …</button>
      </footer>
    </article>
  `;
}

function Facts({ identity, context }) {
  const { failCount } = identity;
  const next = nextTry(identity, context);
  return html`
    <dl class="facts">
      <div><dt>Last fetched</dt><dd><${Moment} at=${identity.lastFetchedAt} none="never" /></dd></div>
      <div><dt>Last failure</dt><dd><${Moment} at=${identity.lastFailedAt} none="none since the last success" /></dd></div>
      <div><dt>Next try</dt><dd><${NextTry} identity=${identity} next=${next} /></dd></div>
      <div><dt>Tries used</dt><dd><${Tries} used=${failCount} of=${context.maxFailures} /></dd></div>
    </dl>
  `;
}

function Moment({ at, none }) {
  if (!at) return none;
  return html`<${Time} at=${at} /> <small>(<${Time} at=${at} isRelative />)</small>`;
}

function NextTry({ identity, next }) {
  if (OF_ACCOUNTS.has(identity.reason)) return "when the pause ends";
  if (next) return next > new Date() ? html`<${Moment} at=${next} />` : "any moment now";
  if (identity.state === "failed" || (identity.stale && identity.failCount > 0)) return "after a refresh";
  return identity.state === "pending" || identity.stale ? "any moment now" : "when it has expired";
}

function Tries({ used, of }) {
  const dots = of <= 10 ? Array.from({ length: of }, (_, n) => n < used) : [];
  return html`
    <span class="tries">
      <span aria-hidden="true">${dots.map((isUsed) => html`<i class=${isUsed ? "used" : ""}></i>`)}</span>
      ${used} of ${of}
    </span>
  `;
}

function Picture({ identity }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    if (identity.pictureUrl) api.pictureAddress(identity.pictureUrl).then(setAddress, () => {});
  }, []);
  const letters = (identity.username ?? identity.name ?? "?").replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  const initials = letters.split(" ").slice(0, 2).map((word) => [...word][0]).join("") || "?";
  const hue = Number(identity.igUserId.slice(-6)) % 360;
  return html`
    <div class="picture" style=${{ "--hue": hue }}>
      <span aria-hidden="true">${initials.toUpperCase()}</span>
      ${address && html`
        <img src=${address} alt=${`Profile picture of ${identity.displayName}`} referrerpolicy="no-referrer"
          onError=${() => setAddress("")} />`}
    </div>
  `;
}

// What has become of a person, in sentences.
export function story(identity, context) {
  const { state, stale, reason, failCount } = identity;
  if (state === "unknown") return ["Nobody with this id has written yet, so nothing is held."];
  if (identity.source === "conversation" && !stale) {
    return [`${reasonSays(reason ?? "refused")}; the conversation gave the username, and no picture.`];
  }
  if (state === "resolved" && !stale) return ["The name is fresh."];
  const known = state === "resolved" ? ["The name was fetched earlier and has expired; it is shown until a new one comes."] : [];
  if (OF_ACCOUNTS.has(reason)) return [...known, `${reasonSays(reason)}; the fetch waits until that is over and nothing is lost.`];
  if (failCount === 0) return [...known, state === "resolved" ? "A new fetch has been queued." : "The first fetch is on its way."];
  return [...known, tried(identity, context), ...after(identity, context)];
}

function tried(identity, context) {
  const { failCount, reason } = identity;
  const used = `${failCount} of ${plural(context.maxFailures, "try", "tries")} used`;
  const next = nextTry(identity, context);
  const says = reasonSays(reason ?? "upstream_error");
  if (!next) return html`${says}; ${used}, so the service has stopped trying.`;
  if (next <= new Date()) return html`${says}; next try any moment; ${used}.`;
  return html`${says}; next try <${Time} at=${next} />; ${used}.`;
}

function after({ reason, failCount }, { maxFailures }) {
  if (reason === "consent_required") return ["Writing gives consent: their next message is tried at once."];
  return failCount >= maxFailures ? ["Refresh asks Meta again and begins the count anew."] : [];
}

function EraseDialog({ identity, onClose, onErase }) {
  return html`
    <${Dialog} title="Erase ${identity.displayName}?" onClose=${onClose}>
      <p>Everything held about <b class="id">${identity.igUserId}</b> goes: name, picture, failures,
        and that they ever wrote. This can't be undone.</p>
      <p>If they write again, they are fetched like anybody new.</p>
      <div class="actions">
        <button onClick=${onClose}>Keep</button>
        <button class="danger solid" onClick=${onErase}>Erase for good</button>
      </div>
    <//>
  `;
}
