// Call the API where this page is, tell assistive technology when the document is there, and follow
// the choice of dark or light.
const viewer = document.querySelector("rapi-doc");
const here = new URL(".", location.href).href.replace(/\/$/, "");
viewer.setAttribute("server-url", here);
viewer.setAttribute("default-api-server", here);
viewer.addEventListener("spec-loaded", () => viewer.setAttribute("aria-busy", "false"));

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => viewer.setAttribute("theme", dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
