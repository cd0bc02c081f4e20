// The filters: what there is to filter by is suggested, and fields left empty stay out of the address.

function fill(name, values) {
  const list = document.getElementById(`values-${name}`);
  list?.replaceChildren(
    ...values.map((value) => {
      const option = document.createElement("option");
      option.value = value;
      return option;
    }),
  );
}

async function suggest() {
  try {
    const answer = await fetch("/portal/filter-values.json");
    if (!answer.ok) return;
    for (const [name, values] of Object.entries(await answer.json())) fill(name, values);
  } catch {
    // Nothing is suggested; typing works.
  }
}

/** Menus close where people expect it: at Escape, at a click elsewhere, when another one opens. */
function wireMenus(root) {
  const close = (except) => {
    for (const menu of root.querySelectorAll("details.menu[open]")) if (menu !== except) menu.open = false;
  };
  document.addEventListener("click", (event) => close(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.preventDefault(); // the list's own Escape comes after it
  });
}

export function wireFilters(root) {
  wireMenus(root);
  const form = root.querySelector("#filters");
  if (!form) return;
  // Asked for once somebody is about to type, not by everybody who looks at the list.
  form.addEventListener("focusin", suggest, { once: true });
  form.addEventListener("submit", () => {
    const empty = [...form.elements].filter((field) => field.name && !field.value.trim());
    for (const field of empty) field.disabled = true;
    setTimeout(() => empty.forEach((field) => (field.disabled = false)));
  });
}
