// Call the API where this page is, tell assistive technology when the document is there, and follow
// the choice of dark or light.
const viewer = document.querySelector("rapi-doc");
viewer.setAttribute("server-url", new URL(".", location.href).href.replace(/\/$/, ""));
viewer.addEventListener("spec-loaded", () => viewer.setAttribute("aria-busy", "false"));

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => viewer.setAttribute("theme", dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
