// index.html loads uPlot before the console's modules.
import uPlot from "uplot";

declare global {
  interface Window {
    uPlot: typeof uPlot;
  }
}
