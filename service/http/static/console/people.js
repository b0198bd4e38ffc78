// Who has written: a list that is searched as one types, and the card of one person.

import { html, useChanges, useEffect, useRef } from "./preact.js";
import { List } from "./people-list.js";
import { Field } from "./parts.js";
import { Person } from "./person.js";
import { REASON_NAMES, accountName, reasonShort } from "./words.js";

const TYPING_MS = 180;
const FILTERS = ["q", "named", "state", "reason", "igAccountId", "locationId", "days"];

// `asked` is an id or an @name; `query` are the list's filters, as in the address.
export function People({ live, asked, query }) {
  return asked
    ? html`<${Person} key=${asked} live=${live} asked=${asked} />`
    : html`<${Everybody} live=${live} query=${query} />`;
}

function Everybody({ live, query }) {
  useChanges(live);
  const filters = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const list = useRef(null);
  const set = (changed) => {
    const wanted = Object.entries({ ...filters, ...changed }).filter(([, value]) => value);
    const text = new URLSearchParams(wanted).toString();
    location.replace(`#people${text ? `?${text}` : ""}`);
  };
  return html`
    <h2 tabindex="-1">People</h2>
    <div role="search" class="search">
      <${Search} q=${filters.q} onSearch=${(q) => set({ q })} onDown=${() => list.current?.focus()} />
      <${Filters} live=${live} filters=${filters} set=${set} />
    </div>
    <${List} key=${JSON.stringify(filters)} live=${live} filters=${filters} box=${list} />
  `;
}

function Search({ q, onSearch, onDown }) {
  const input = useRef(null);
  const timer = useRef(null);
  useEffect(() => input.current.focus(), []);
  const typed = (text) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onSearch(text.trim()), TYPING_MS);
  };
  const onKey = (event) => {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      onDown();
    }
    if (event.key === "Enter") {
      clearTimeout(timer.current);
      onSearch(event.target.value.trim());
    }
  };
  return html`
    <${Field} label="Search" hint="@username, a name or an id, by its beginning">
      <input ref=${input} type="search" autocomplete="off" spellcheck="false" maxlength="64" defaultValue=${q}
        placeholder="@jane" onInput=${(event) => typed(event.target.value)} onKeyDown=${onKey} />
    <//>
  `;
}

function Filters({ live, filters, set }) {
  const connections = live.connections ?? [];
  const locations = [...new Set(connections.map((c) => c.locationId))].sort();
  const accounts = [...connections].sort((a, b) => accountName(a).localeCompare(accountName(b)));
  return html`
    <div class="filters">
      <${Choice} label="Name" name="named" filters=${filters} set=${set}
        options=${[["", "all"], ["false", "without a name"], ["true", "with a name"]]} />
      <${Choice} label="State" name="state" filters=${filters} set=${set}
        options=${[["", "all"], ["resolved", "known"], ["pending", "no name yet"], ["failed", "given up"]]} />
      <${Choice} label="Reason" name="reason" filters=${filters} set=${set}
        options=${[["", "all"], ...REASON_NAMES.map((name) => [name, reasonShort(name)])]} />
      <${Choice} label="Account" name="igAccountId" filters=${filters} set=${set}
        options=${[["", "all"], ...accounts.map((c) => [c.igAccountId, accountName(c)])]} />
      <${Choice} label="Location" name="locationId" filters=${filters} set=${set}
        options=${[["", "all"], ...locations.map((name) => [name, name])]} />
      <${Choice} label="Wrote within" name="days" filters=${filters} set=${set}
        options=${[["", "any time"], ["1", "a day"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"]]} />
    </div>
  `;
}

function Choice({ label, name, options, filters, set }) {
  const value = filters[name];
  const known = options.some(([each]) => each === value) ? options : [...options, [value, value]];
  return html`
    <${Field} label=${label}>
      <select value=${value} onChange=${(event) => set({ [name]: event.target.value })}>
        ${known.map(([each, says]) => html`<option key=${each} value=${each} selected=${each === value}>${says}</option>`)}
      </select>
    <//>
  `;
}
