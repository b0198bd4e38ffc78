// The small parts that every view is made of.

import { html, useEffect, useId, useRef, useState } from "./preact.js";
import * as api from "./api.js";
import { clock, isForEver, relative, utc } from "./words.js";

// Says something to people who listen instead of look.
export function announce(text) {
  const region = document.getElementById("announcer");
  if (region) region.textContent = text;
}

// A moment in the viewer's zone; the title has it in UTC.
export function Time({ at, seconds = false, isRelative = false }) {
  if (!at) return html`–`;
  if (isForEver(at)) return html`a new token`;
  const iso = new Date(at).toISOString();
  const said = isRelative ? relative(at) : clock(at, { seconds });
  return html`<time datetime=${iso} title=${utc(at)}>${said}</time>`;
}

export function Panel({ title, children, aside = null, busy = false }) {
  const id = useId();
  return html`
    <section class="panel" aria-labelledby=${id} aria-busy=${busy ? "true" : null}>
      <header class="panel-head"><h3 id=${id}>${title}</h3>${aside}</header>
      ${children}
    </section>
  `;
}

export function Badge({ kind, children }) {
  return html`<span class="badge ${kind}">${children}</span>`;
}

export function Note({ kind = "bad", title, children, role = null }) {
  return html`
    <div class="note ${kind}" role=${role}>
      ${title && html`<strong>${title}</strong>`}
      <div>${children}</div>
    </div>
  `;
}

export function Empty({ children }) {
  return html`<p class="empty">${children}</p>`;
}

// A question above the page; Escape and the backdrop mean no. Focus goes back to where it was.
export function Dialog({ title, onClose, children }) {
  const id = useId();
  const dialog = useRef(null);
  useEffect(() => {
    const [shown, before] = [dialog.current, document.activeElement];
    shown.showModal();
    return () => {
      shown.close(); // while it is open, nothing behind it takes the focus
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const onClick = (event) => event.target === dialog.current && onClose();
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`
    <dialog ref=${dialog} aria-labelledby=${id} onCancel=${onCancel} onClick=${onClick}>
      <div class="dialog-body">
        <h3 id=${id}>${title}</h3>
        ${children}
      </div>
    </dialog>
  `;
}

export function Field({ label, hint = null, children }) {
  return html`
    <label class="field">
      <span class="label">${label}</span>
      ${children}
      ${hint && html`<span class="hint">${hint}</span>`}
    </label>
  `;
}

// A person's picture, or initials on a colour of their own.
export function Picture({ identity, isSmall = false }) {
  const [src, setSrc] = useState("");
  const { pictureUrl, displayName } = identity;
  useEffect(() => {
    let isGone = false;
    setSrc("");
    if (pictureUrl) api.pictureAddress(pictureUrl).then((address) => !isGone && setSrc(address), () => {});
    return () => (isGone = true);
  }, [pictureUrl]);
  const letters = (identity.username ?? identity.name ?? "?").replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  const initials = letters.split(" ").slice(0, 2).map((word) => [...word][0]).join("") || "?";
  const hue = Number(identity.igUserId.slice(-6)) % 360;
  return html`
    <div class="picture ${isSmall ? "small" : ""}" style=${{ "--hue": hue }}>
      <span aria-hidden="true">${initials.toUpperCase()}</span>
      ${src && html`<img src=${src} alt=${isSmall ? "" : `Profile picture of ${displayName}`} referrerpolicy="no-referrer"
        loading="lazy" onError=${() => setSrc("")} />`}
    </div>
  `;
}
