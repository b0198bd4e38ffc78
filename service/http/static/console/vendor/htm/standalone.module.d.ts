// The types of the vendored file, which are those of the packages that it was built from.
export { h, html, render, Component } from "htm/preact";
export {
  useEffect,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
} from "preact/hooks";
