// In the sandbox only: a test DM, signed and sent through the front door as Meta does.

import { html, useChanges, useEffect, useState } from "./preact.js";
import * as api from "./api.js";
import { Empty, Field, Note, Panel, announce } from "./parts.js";
import { reasonSays } from "./words.js";

const LOOK_EVERY_MS = 100;
const LOOK_FOR_MS = 10_000;
const MOST_SHOWN = 8;

let sentSoFar = 0;

export function Sandbox({ live }) {
  useChanges(live);
  const [offer, setOffer] = useState(null);
  const [trouble, setTrouble] = useState(null);
  useEffect(() => {
    api.sandbox().then(setOffer, setTrouble);
  }, []);
  const show = (message) => {
    live.sent = [message, ...live.sent.filter(({ id }) => id !== message.id)].sort((a, b) => b.id - a.id).slice(0, MOST_SHOWN);
    live.changed();
  };
  const send = async (form) => {
    sentSoFar += 1;
    const id = sentSoFar;
    try {
      await follow(id, form, show);
      setTrouble(null);
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      live.refused(error);
      setTrouble(error);
    }
  };
  return html`
    <h2 tabindex="-1">Send a test DM</h2>
    <p class="lead">Signs a made-up message as Meta does and delivers it to this service's webhook.
      Only the sandbox has this page.</p>
    ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
    <div class="columns">
      <${Panel} title="Message">${offer ? html`<${Form} offer=${offer} onSend=${send} />` : html`<${Empty}>One moment …<//>`}<//>
      <${Panel} title="What became of it">
        ${live.sent.length === 0
          ? html`<${Empty}>Nothing sent yet.<//>`
          : html`<ul class="rows">${live.sent.map((message) => html`<${Sent} key=${message.id} ...${message} />`)}</ul>`}
      <//>
    </div>
  `;
}

function Form({ offer, onSend }) {
  const submit = (event) => {
    event.preventDefault();
    const { who, text } = Object.fromEntries(new FormData(event.target));
    onSend({ igUserId: who || null, text });
  };
  return html`
    <form class="form" onSubmit=${submit}>
      <${Field} label="From">
        <select name="who">
          <option value="">A new stranger</option>
          ${offer.people.map(({ igUserId, what }) => html`<option value=${igUserId}>${igUserId} (${what})</option>`)}
        </select>
      <//>
      <${Field} label="Text" hint="Read by nobody: the service keeps no message text.">
        <input name="text" value="Hello there!" maxlength="500" autocomplete="off" />
      <//>
      <div class="actions"><button class="primary">Send</button></div>
    </form>
  `;
}

function Sent({ igUserId, ackMs, nameMs, identity }) {
  const isKnown = identity?.state === "resolved";
  return html`
    <li>
      <div>
        <b>${isKnown ? identity.displayName : igUserId}</b>
        <small>Acknowledged in ${ackMs} ms. ${outcome(identity, nameMs)}</small>
      </div>
      <a href="#people/${igUserId}" aria-label="Look up ${igUserId}">Look up</a>
    </li>
  `;
}

function outcome(identity, nameMs) {
  if (!identity) return nameMs === null ? "Waiting for the name …" : "No outcome came in time.";
  return identity.reason ? `${reasonSays(identity.reason)}.` : `Named within ${nameMs} ms.`;
}

// Sends, then looks the sender up until the outcome stands.
async function follow(id, form, show) {
  const { igUserId, ackMs } = await api.sandbox(form);
  const began = performance.now();
  const message = { id, igUserId, ackMs, nameMs: null, identity: null };
  show(message);
  while (performance.now() - began < LOOK_FOR_MS) {
    const identity = await api.get(`users/${igUserId}`);
    if ((identity.state === "resolved" && !identity.stale) || identity.reason) {
      message.identity = identity;
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  const nameMs = Math.round(performance.now() - began);
  announce(`${message.identity?.displayName ?? igUserId}: ${outcome(message.identity, nameMs)}`);
  show({ ...message, nameMs });
}
