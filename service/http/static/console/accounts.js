// The connected accounts: how their tokens do, and what to do about it.

import { html, useChanges, useState } from "./preact.js";
import * as api from "./api.js";
import { Badge, Dialog, Empty, Field, Note, Time, announce } from "./parts.js";
import { cure, reasonSays } from "./words.js";

export function Accounts({ live }) {
  useChanges(live);
  const [editing, setEditing] = useState(null);
  const { connections } = live;
  return html`
    <div class="view-head">
      <h2 tabindex="-1">Accounts</h2>
      <button onClick=${() => setEditing({})}>Connect an account …</button>
    </div>
    ${connections === null
      ? html`<${Empty}>${live.trouble || live.status?.postgres === "unavailable"
          ? "The accounts can't be read right now." : "Reading the accounts …"}<//>`
      : connections.length === 0
        ? html`<${Empty}>No account is connected yet.<//>`
        : html`<ul class="cards">${connections.map((connection) => html`
            <${Account} key=${connection.igAccountId} connection=${connection}
              onToken=${() => setEditing(connection)} />`)}</ul>`}
    ${editing && html`<${ConnectionDialog} live=${live} connection=${editing} onClose=${() => setEditing(null)} />`}
  `;
}

function Account({ connection, onToken }) {
  const { kind, says, todo } = condition(connection);
  return html`
    <li class="panel account">
      <header class="panel-head">
        <h3 class="id">${connection.igAccountId}</h3>
        <${Badge} kind=${kind}>${says}<//>
      </header>
      <p class="todo">${todo}</p>
      <dl class="facts">
        <div><dt>Location</dt><dd>${connection.locationId}</dd></div>
        <div><dt>Login</dt><dd>${connection.login === "instagram" ? "Instagram" : "Facebook"}</dd></div>
        <div><dt>Last change</dt><dd><${Time} at=${connection.updatedAt} /></dd></div>
        <div><dt>Other ids</dt><dd class="id">${connection.aliasIds.join(", ") || "none"}</dd></div>
      </dl>
      <footer class="actions">
        <button class=${kind === "bad" ? "primary" : ""} onClick=${onToken}
          aria-label="Put in a new token for ${connection.igAccountId}">Put in a new token …</button>
      </footer>
    </li>
  `;
}

// The state of a token, and what somebody should do.
function condition({ tokenStatus, pauseReason, pausedUntil }) {
  const reason = pauseReason ?? (tokenStatus === "invalid" ? "token_invalid" : null);
  if (!reason) return { kind: "good", says: "Works", todo: "The token is accepted; there is nothing to do." };
  const until = pausedUntil && html`Paused until <${Time} at=${pausedUntil} />. `;
  const todo = html`${reasonSays(reason)}. ${until}${cure(reason).replace(" under Accounts", " here")}`;
  if (reason === "token_invalid") return { kind: "bad", says: "Token refused", todo };
  if (reason === "permission") return { kind: "bad", says: "Permission missing", todo };
  return { kind: "warn", says: "Paused", todo };
}

function ConnectionDialog({ live, connection, onClose }) {
  const isNew = !connection.igAccountId;
  const [trouble, setTrouble] = useState(null);
  const [busy, setBusy] = useState(false);
  const save = async (event) => {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    try {
      await api.put(`connections/${encodeURIComponent(form.igAccountId ?? connection.igAccountId)}`, {
        locationId: form.locationId ?? connection.locationId,
        login: form.login ?? connection.login,
        aliasIds: connection.aliasIds ?? [],
        accessToken: form.accessToken.trim(),
      });
      await live.readConnections();
      announce("The token is saved.");
      onClose();
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      setTrouble(error);
      setBusy(false);
      live.refused(error);
    }
  };
  return html`
    <${Dialog} title=${isNew ? "Connect an account" : `New token for ${connection.igAccountId}`} onClose=${onClose}>
      <form class="form" onSubmit=${save}>
        ${isNew && html`<${NewAccount} />`}
        <${Field} label="Access token" hint="Encrypted before it is stored, and never shown again.">
          <input name="accessToken" type="password" autocomplete="off" required spellcheck="false" />
        <//>
        ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
        <div class="actions">
          <button type="button" onClick=${onClose}>Cancel</button>
          <button class="primary" disabled=${busy}>${busy ? "Saving …" : "Save"}</button>
        </div>
      </form>
    <//>
  `;
}

function NewAccount() {
  return html`
    <${Field} label="Account id" hint="The Instagram professional account, as in the webhook's entry.id.">
      <input name="igAccountId" inputmode="numeric" pattern="[0-9]{1,32}" autocomplete="off" required />
    <//>
    <${Field} label="Location"><input name="locationId" autocomplete="off" maxlength="200" required /><//>
    <${Field} label="Login">
      <select name="login">
        <option value="facebook">Facebook login</option>
        <option value="instagram">Instagram login</option>
      </select>
    <//>
  `;
}
