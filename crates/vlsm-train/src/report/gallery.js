"use strict";
// The gallery: cards are made from a list of cases; pictures are decoded when a card comes into view.
(() => {
  const cases = JSON.parse(document.getElementById("cases").textContent);
  const list = document.getElementById("gallery");
  const viewer = document.getElementById("viewer");
  const address = (kind, data) => `data:image/${kind};base64,${data}`;

  // The layers of a picture: the image, the prediction in the overlay's colour, the outline of the truth.
  function fill(frame, number) {
    if (frame.dataset.shown === String(number)) return;
    frame.dataset.shown = number;
    const [image, truth, prediction] = document.getElementById(`pictures-${number}`).textContent.trim().split("\n");
    const picture = document.createElement("img");
    picture.decoding = "async";
    picture.alt = `the image of ${cases[number].name}`;
    picture.src = address("jpeg", image);
    const layers = [["prediction", prediction], ["truth", truth]].map(([name, data]) => {
      const layer = document.createElement("span");
      layer.className = `layer ${name}`;
      layer.style.setProperty("--shape", `url(${address("png", data)})`);
      return layer;
    });
    frame.replaceChildren(picture, ...layers);
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      fill(target.querySelector(".frame"), Number(target.dataset.number));
    }
  }, { root: list, rootMargin: "400px" });

  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const cards = cases.map((one, number) => {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "card";
    card.dataset.number = number;
    const frame = document.createElement("span");
    frame.className = "frame";
    frame.style.aspectRatio = `${one.width} / ${one.height}`;
    const score = document.createElement("b");
    score.textContent = one.dice.toFixed(3);
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = one.name;
    card.append(frame, score, name);
    card.title = `${one.name}: Dice ${one.dice.toFixed(3)}, “${one.prompt}”`;
    card.addEventListener("click", () => open(number));
    seen.observe(card);
    return card;
  });

  // Sorting. The order is also that of the viewer's arrows.
  const orders = {
    worst: (a, b) => a.dice - b.dice,
    best: (a, b) => b.dice - a.dice,
    name: () => 0,
    large: (a, b) => b.truth - a.truth,
    small: (a, b) => a.truth - b.truth,
  };
  const byName = new Intl.Collator("en", { numeric: true }).compare;
  const names = cases.map((_, number) => number).sort((a, b) => byName(cases[a].name, cases[b].name));
  const rank = [];
  names.forEach((number, index) => { rank[number] = index; });
  let order = [];
  const select = document.getElementById("order");
  function sort() {
    const compare = orders[select.value];
    order = [...names].sort((a, b) => compare(cases[a], cases[b]) || rank[a] - rank[b]);
    list.replaceChildren(...order.map((number) => cards[number]));
    list.scrollTop = 0;
  }
  select.addEventListener("change", sort);
  sort();

  // Overlays: two switches and two colours for all pictures.
  for (const name of ["prediction", "truth"]) {
    const shown = document.getElementById(`show-${name}`);
    const colour = document.getElementById(`colour-${name}`);
    const update = () => {
      document.body.classList.toggle(`without-${name}`, !shown.checked);
      document.body.style.setProperty(`--${name}`, colour.value);
    };
    shown.addEventListener("change", update);
    colour.addEventListener("input", update);
    update();
  }

  // The viewer.
  const frame = viewer.querySelector(".frame");
  let current = 0;
  function open(number) {
    current = number;
    const one = cases[number];
    frame.style.aspectRatio = `${one.width} / ${one.height}`;
    frame.style.setProperty("--ratio", one.width / one.height);
    fill(frame, number);
    viewer.querySelector("h3").textContent = one.name;
    viewer.querySelector(".prompt").textContent = `“${one.prompt}” (${one.set})`;
    const facts = [
      ["Dice", one.dice.toFixed(3)],
      ["IoU", one.iou.toFixed(3)],
      ["HD95", `${one.hd95.toFixed(1)} pixels`],
      ["true area", percent(one.truth)],
      ["predicted area", percent(one.predicted)],
    ];
    if (one.group) facts.push(["group", one.group]);
    if (one.subject !== one.name) facts.push(["patient or image", one.subject]);
    viewer.querySelector("dl").replaceChildren(...facts.map(([term, value]) => {
      const row = document.createElement("div");
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = term;
      dd.textContent = value;
      row.append(dt, dd);
      return row;
    }));
    if (!viewer.open) viewer.showModal();
  }
  const move = (by) => {
    const index = order.indexOf(current) + by;
    if (index >= 0 && index < order.length) open(order[index]);
  };
  document.getElementById("previous").addEventListener("click", () => move(-1));
  document.getElementById("next").addEventListener("click", () => move(1));
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { event.preventDefault(); move(by); }
  });
  // A click outside the dialog's content closes it.
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });

  // A dot opens its case.
  const numbers = new Map(cases.map((one, number) => [one.name, number]));
  for (const dot of document.querySelectorAll("circle[data-case]")) {
    const number = numbers.get(dot.dataset.case);
    if (number === undefined) continue;
    dot.classList.add("opens");
    dot.addEventListener("click", () => open(number));
  }
})();
