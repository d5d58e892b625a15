// Charts by Vega-Lite, and what ties them to the player. window.reportReady resolves when every chart is drawn.
"use strict";

(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const views = [];
  let timer = 0;

  function onFrame(frame) {
    clearTimeout(timer);
    // Drawing every chart anew takes longer than a frame: they follow when the player rests.
    timer = setTimeout(() => views.forEach(({ view, timed }) => { if (timed) view.signal("now", frame).runAsync(); }), 120);
  }

  const axis = { labelColor: "var(--soft)", titleColor: "var(--soft)", tickColor: "var(--line)", domainColor: "var(--line)", gridColor: "var(--line)", gridOpacity: 0.6, titleFontWeight: 400 };
  const config = {
    background: null, font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", axis,
    view: { stroke: "var(--line)" }, legend: { labelColor: "var(--fg)", titleColor: "var(--soft)", titleFontWeight: 400 },
  };
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  function tooltip(handler, event, item, value) {
    tip.hidden = !value || !event;
    if (tip.hidden) return;
    tip.textContent = Object.entries(value).filter(([, text]) => text !== "" && text !== "undefined").map(([key, text]) => `${key} ${text}`).join(" · ");
    tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  }

  const player = data.player ? window.startPlayer(data.player, onFrame) : null;
  window.player = player;
  async function draw(place) {
    const { spec, timed } = data.charts[place.dataset.chart];
    const compiled = vegaLite.compile({ ...spec, config, autosize: { type: "fit-x", contains: "padding" } }).spec;
    const view = new vega.View(vega.parse(compiled), { renderer: "svg", container: place, hover: true });
    view.tooltip(tooltip);
    await view.runAsync();
    views.push({ view, timed });
    if (timed && player) {
      place.style.cursor = "pointer";
      view.addEventListener("click", (event) => {
        const box = place.querySelector("svg").getBoundingClientRect(), svg = place.querySelector("svg");
        const x = ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width - view.origin()[0];
        player.seek(view.scale("x").invert(x));
      });
    }
  }
  document.querySelectorAll(".go").forEach((button) => button.addEventListener("click", () => {
    if (player) player.seek(+button.dataset.frame);
    document.getElementById("player").scrollIntoView();
  }));
  document.querySelectorAll(".go").forEach((button) => { button.disabled = !player; });
  window.reportReady = Promise.all([...document.querySelectorAll(".plot")].map(draw)).then(() => player?.ready());
})();
