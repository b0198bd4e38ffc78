// Preact with its hooks and htm, and the two hooks of our own that every view uses.

import { useReducer, useEffect, useState } from "./vendor/htm/standalone.module.js";

export {
  html,
  render,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from "./vendor/htm/standalone.module.js";

let lastId = 0;

// An id that no other element of the page has (the vendored Preact is older than its own useId).
export function useId() {
  const [id] = useState(() => {
    lastId += 1;
    return `id-${lastId}`;
  });
  return id;
}

// Draws the component again every so often, as clocks need it.
export function useTicks(everyMs) {
  const [, draw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(draw, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
}

// Draws the component again whenever the source says that it has changed.
export function useChanges(source) {
  const [, draw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    source.addEventListener("change", draw);
    return () => source.removeEventListener("change", draw);
  }, [source]);
}
