// The pages' behaviour: search, filters and sorting in the address, folds, copying.
"use strict";
(() => {
  const matrix = document.querySelector(".matrix");
  if (matrix) overview(matrix);
  keepTables();
  letScroll();
  openTarget();
  window.addEventListener("hashchange", openTarget);
  for (const button of document.querySelectorAll(".data th button")) button.addEventListener("click", () => copy(button));

  // A link to a fold opens it, and those around it.
  function openTarget() {
    const name = decode(location.hash.slice(1));
    const target = name && document.getElementById(name);
    if (!target) return;
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  }

  function decode(text) {
    try { return decodeURIComponent(text); } catch { return text; }
  }

  // The command lies in the line below the table; a pair's button puts its seed there,
  // which is even: networks come two by two.
  function copy(button) {
    const line = button.closest("details").querySelector(".command");
    const seed = Number(button.textContent.match(/\d+/)[0]);
    line.textContent = line.textContent.replace(/--first-seed \d+/, `--first-seed ${seed - seed % 2}`);
    if (navigator.clipboard) navigator.clipboard.writeText(line.textContent).catch(() => {});
  }

  // A narrow window shows a table's rows as blocks: to a reader aloud it stays a table,
  // and each cell has the head of its column beside it.
  function keepTables() {
    const roles = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
    for (const table of document.querySelectorAll("table")) {
      for (const part of [table, ...table.querySelectorAll("thead, tbody, tr, td, th")]) {
        const head = part.scope && part.scope.startsWith("row") ? "rowheader" : "columnheader";
        part.setAttribute("role", roles[part.tagName] || head);
      }
      if (!table.tHead) continue;
      const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent.replace(/\[.*/, "").trim());
      for (const row of table.querySelectorAll("tbody tr")) {
        const cells = [...row.cells], ahead = heads.length - cells.length; // a head of several rows
        cells.forEach((cell, k) => { if (cell.textContent.trim() && cell.colSpan === 1) cell.dataset.label = heads[k + ahead]; });
      }
    }
  }

  // What scrolls sideways can be reached, and scrolled, by the keyboard.
  function letScroll() {
    for (const part of document.querySelectorAll(".scroll")) {
      part.tabIndex = 0;
      part.setAttribute("role", "group");
      part.setAttribute("aria-label", part.closest("details").querySelector("summary").textContent);
    }
  }

  function overview(table) {
    const body = table.tBodies[0], rows = [...body.rows];
    const buttons = [...document.querySelectorAll("[data-filter]")];
    const heads = [...table.querySelectorAll("[data-sort]")];
    const search = document.getElementById("search");
    const verdicts = buttons.filter(button => button.dataset.filter === "verdict").map(button => button.dataset.value);
    const scales = heads.map(head => head.dataset.sort).slice(1, -2);
    const claims = rows.map((row, place) => ({ row, place, facts: facts(row), topic: row.id.split("/")[0] }));
    const state = { q: "", sort: "", down: false, filters: {} };

    // Verdict and scale of what a row shows.
    function facts(row) {
      return scales.flatMap((scale, k) => [...row.cells[k + 1].querySelectorAll(".chip, .pills b")]
        .map(chip => [verdicts.find(verdict => chip.classList.contains(verdict)), scale]));
    }

    function fields(claim) {
      if (!claim.fields) {
        const { id, dataset } = claim.row;
        claim.fields = Search.index({
          id, sentence: claim.row.querySelector("a").textContent,
          source: dataset.words, more: `${dataset.words} ${claim.facts.flat().join(" ")}`,
        });
      }
      return claim.fields;
    }

    function passes(claim) {
      const { verdict = [], scale = [], topic = [], differs = [] } = state.filters;
      // One result must satisfy both: refuted, and at this scale.
      return claim.facts.some(([key, at]) => (!verdict.length || verdict.includes(key)) && (!scale.length || scale.includes(at)))
        && (!topic.length || topic.includes(claim.topic))
        && (!differs.length || "differs" in claim.row.dataset);
    }

    function key(claim) {
      const at = heads.findIndex(head => head.dataset.sort === state.sort);
      const cell = claim.row.cells[at], text = cell.dataset.key;
      if (state.sort === "claim") return cell.textContent.toLowerCase();
      return text === undefined || text === "-" ? null : Number(text);
    }

    function sorted(shown) {
      if (!state.sort) return shown;
      const sign = state.down ? -1 : 1;
      const keyed = shown.map(claim => [key(claim), claim]);
      keyed.sort(([a, x], [b, y]) => {
        if (a === null || b === null) return (a === null) - (b === null) || x.place - y.place; // empty last
        return (a < b ? -sign : a > b ? sign : 0) || x.place - y.place;
      });
      return keyed.map(([, claim]) => claim);
    }

    function searched(passing) {
      const query = Search.parse(state.q);
      if (query.empty) return { shown: passing, note: "" };
      const scored = passing.map(claim => [Search.score(query, fields(claim)), claim]);
      const whole = scored.filter(([found]) => found.all);
      const some = whole.length ? whole : scored.filter(([found]) => found.total > 0);
      some.sort(([a, x], [b, y]) => b.total - a.total || x.place - y.place);
      return { shown: some.map(([, claim]) => claim), note: whole.length || !some.length ? "" : ", none with all words" };
    }

    function show() {
      const { shown: found, note } = searched(claims.filter(passes));
      const shown = sorted(found), held = new Set(shown);
      body.append(...shown.map(claim => claim.row));
      for (const claim of claims) {
        claim.row.hidden = !held.has(claim);
        if (claim.row.hidden) body.append(claim.row);
      }
      const narrowed = Boolean(state.q.trim()) || Object.values(state.filters).some(values => values.length);
      document.body.classList.toggle("narrowed", narrowed);
      document.getElementById("shown").textContent = narrowed
        ? `${shown.length} of ${claims.length} claims${note}` : `${claims.length} claims`;
      document.getElementById("none").hidden = shown.length > 0;
      document.getElementById("clear").hidden = !narrowed && !state.sort;
      for (const button of buttons) {
        const on = (state.filters[button.dataset.filter] || []).includes(button.dataset.value);
        button.setAttribute("aria-pressed", String(on));
      }
      for (const head of heads) {
        const on = head.dataset.sort === state.sort;
        head.closest("th").setAttribute("aria-sort", on ? (state.down ? "descending" : "ascending") : "none");
      }
    }

    // The address: #q=rescale+repair&verdict=refuted&sort=digits&down=1
    function keep() {
      const address = new URLSearchParams();
      if (state.q.trim()) address.set("q", state.q);
      for (const [name, values] of Object.entries(state.filters)) if (values.length) address.set(name, values.join(","));
      if (state.sort) address.set("sort", state.sort);
      if (state.down) address.set("down", "1");
      const text = address.toString();
      history.replaceState(null, "", text ? `#${text}` : location.pathname.split("/").pop() || "#");
    }

    function read() {
      const hash = location.hash.slice(1);
      if (hash && !hash.includes("=")) return; // a link to a row
      const address = new URLSearchParams(hash);
      state.q = address.get("q") || "";
      state.sort = heads.some(head => head.dataset.sort === address.get("sort")) ? address.get("sort") : "";
      state.down = address.has("down");
      state.filters = {};
      for (const name of new Set(buttons.map(button => button.dataset.filter))) {
        state.filters[name] = (address.get(name) || "").split(",").filter(Boolean);
      }
      search.value = state.q;
    }

    function change() { keep(); show(); }

    search.addEventListener("input", () => { state.q = search.value; change(); });
    for (const button of buttons) button.addEventListener("click", () => {
      const { filter, value } = button.dataset, held = state.filters[filter] || [];
      state.filters[filter] = held.includes(value) ? held.filter(other => other !== value) : [...held, value];
      change();
      if (button.classList.contains("tile")) document.getElementById("claims").scrollIntoView();
    });
    // Ascending, descending, as it was. Numbers begin with the largest.
    for (const head of heads) head.addEventListener("click", () => {
      const name = head.dataset.sort, first = name !== "claim";
      if (state.sort !== name) [state.sort, state.down] = [name, first];
      else if (state.down === first) state.down = !first;
      else [state.sort, state.down] = ["", false];
      change();
    });
    document.getElementById("clear").addEventListener("click", () => {
      Object.assign(state, { q: "", sort: "", down: false, filters: {} });
      search.value = "";
      change();
      search.focus();
    });
    document.addEventListener("keydown", event => {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); search.focus(); }
      if (event.key === "Escape" && event.target === search && state.q) { search.value = state.q = ""; change(); }
    });
    window.addEventListener("hashchange", () => { read(); show(); });
    read();
    show();
  }
})();
