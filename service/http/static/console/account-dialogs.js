// What is asked before an account is connected, given a token, changed or removed.

import { html, useState } from "./preact.js";
import * as api from "./api.js";
import { Dialog, Field, Note, announce } from "./parts.js";
import { accountName } from "./words.js";

const path = (igAccountId) => `connections/${encodeURIComponent(igAccountId)}`;
const listed = (text) => text.split(/[\s,]+/).filter(Boolean);

// A form in a dialog; `save` gets its fields, and what it throws is shown.
function FormDialog({ live, title, said, save, does = "Save", isDanger = false, onClose, children }) {
  const [trouble, setTrouble] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await save(Object.fromEntries(new FormData(event.target)));
      await live.readConnections();
      announce(said);
      onClose();
    } catch (error) {
      if (!(error instanceof api.Trouble)) throw error;
      setTrouble(error);
      setBusy(false);
      live.refused(error);
    }
  };
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <form class="form" onSubmit=${submit}>
        ${children}
        ${trouble && html`<${Note} role="alert" title=${trouble.message} />`}
        <div class="actions">
          <button type="button" onClick=${onClose}>Cancel</button>
          <button class=${isDanger ? "danger solid" : "primary"} disabled=${busy}>${busy ? "One moment …" : does}</button>
        </div>
      </form>
    <//>
  `;
}

// A new account; one that is connected already is refused.
export function ConnectDialog({ live, account, onClose }) {
  const save = (form) => {
    const igAccountId = (account.igAccountId ?? form.igAccountId).trim();
    const body = { locationId: form.locationId.trim(), login: form.login, accessToken: form.accessToken.trim() };
    return api.put(path(igAccountId), body, { isNew: true });
  };
  return html`
    <${FormDialog} live=${live} title=${account.igAccountId ? `Connect ${account.igAccountId}` : "Connect an account"}
      said="The account is connected." save=${save} onClose=${onClose}>
      ${!account.igAccountId && html`
        <${Field} label="Account id" hint="The Instagram professional account, as in the webhook's entry.id.">
          <input name="igAccountId" inputmode="numeric" pattern=" *[0-9]{1,32} *" autocomplete="off" required />
        <//>`}
      <${Field} label="Location"><input name="locationId" autocomplete="off" maxlength="200" required list="locations" /><//>
      <${Locations} live=${live} />
      <${Field} label="Login">
        <select name="login">
          <option value="facebook">Facebook login</option>
          <option value="instagram">Instagram login</option>
        </select>
      <//>
      <${Token} />
    <//>
  `;
}

function Token() {
  return html`
    <${Field} label="Access token" hint="Encrypted before it is stored, and never shown again.">
      <input name="accessToken" type="password" autocomplete="off" required spellcheck="false" />
    <//>
  `;
}

function Locations({ live }) {
  const names = [...new Set((live.connections ?? []).map((c) => c.locationId))].sort();
  return html`<datalist id="locations">${names.map((name) => html`<option key=${name} value=${name}></option>`)}</datalist>`;
}

export function TokenDialog({ live, account, onClose }) {
  const { igAccountId, locationId, login, aliasIds } = account;
  const save = ({ accessToken }) => api.put(path(igAccountId), { locationId, login, aliasIds, accessToken: accessToken.trim() });
  return html`
    <${FormDialog} live=${live} title="New token for ${accountName(account)}" said="The token is saved." save=${save} onClose=${onClose}>
      <p class="hint id">${igAccountId}, ${login === "instagram" ? "Instagram" : "Facebook"} login</p>
      <${Token} />
    <//>
  `;
}

export function EditDialog({ live, account, onClose }) {
  const save = ({ locationId, aliasIds }) => api.patch(path(account.igAccountId), { locationId: locationId.trim(), aliasIds: listed(aliasIds) });
  return html`
    <${FormDialog} live=${live} title="Edit ${accountName(account)}" said="The account is changed." save=${save} onClose=${onClose}>
      <${Field} label="Location"><input name="locationId" autocomplete="off" maxlength="200" required defaultValue=${account.locationId} /><//>
      <${Field} label="Other ids" hint="Ids that Meta uses for the same account, with commas between them.">
        <input name="aliasIds" autocomplete="off" inputmode="numeric" pattern="[0-9, ]*" defaultValue=${account.aliasIds.join(", ")} />
      <//>
    <//>
  `;
}

// An id that nobody has connected becomes another id of an account that is.
export function AliasDialog({ live, account, onClose }) {
  const accounts = [...(live.connections ?? [])].sort((a, b) => accountName(a).localeCompare(accountName(b)));
  const save = ({ igAccountId }) => {
    const { aliasIds } = live.connection(igAccountId);
    return api.patch(path(igAccountId), { aliasIds: [...aliasIds, account.igAccountId] });
  };
  return html`
    <${FormDialog} live=${live} title="${account.igAccountId} is another id of …" said="The id is taken as another one of the account."
      save=${save} onClose=${onClose}>
      <p>Meta knows a professional account by two ids. People who wrote to this one are then that account's.</p>
      <${Field} label="Account">
        <select name="igAccountId" required>
          ${accounts.map((each) => html`<option key=${each.igAccountId} value=${each.igAccountId}>${accountName(each)} (${each.locationId})</option>`)}
        </select>
      <//>
    <//>
  `;
}

export function RemoveDialog({ live, account, onClose }) {
  const save = ({ erases }) => api.erase(`${path(account.igAccountId)}${erases ? "?erase=true" : ""}`);
  return html`
    <${FormDialog} live=${live} title="Remove ${accountName(account)}?" said="The account is removed." save=${save}
      does="Remove" isDanger onClose=${onClose}>
      <p>Its token is deleted and nobody of account <b class="id">${account.igAccountId}</b> is fetched any more.</p>
      <label class="check"><input type="checkbox" name="erases" value="true" />
        Also erase the people who have written to no other account. This can't be undone.</label>
    <//>
  `;
}
