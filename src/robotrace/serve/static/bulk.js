// What is done with the selected episodes: sent by script, so that the page stays where it is.

const TYPED_ABOVE = 10;
const SHOWN_NAMES = 5;

const nameOf = (row) => row.querySelector(".cell-name a").textContent;

export class BulkActions {
  /**
   * @param {HTMLFormElement} form The list's.
   * @param {import("./selection.js").Selection} selection What is selected in it.
   * @param {() => void} onDone Told when something has changed on the server.
   */
  constructor(form, selection, onDone) {
    this.form = form;
    this.selection = selection;
    this.onDone = onDone;
    this.said = document.getElementById("said");
    this.dialog = document.getElementById("delete-dialog");
    form.addEventListener("submit", (event) => this.submitted(event));
  }

  submitted(event) {
    const button = event.submitter;
    if (!button || "plain" in button.dataset) return; // a download is the browser's
    event.preventDefault();
    const action = new URL(button.formAction).pathname.split("/").at(-1);
    const rows = this.selection.rows;
    if (!rows.length) return;
    if (action === "delete") this.askFirst(rows);
    else this.send(action, this.selection.ids, { severity: this.form.elements.severity.value });
  }

  /** The dialog that asks before anything is deleted; for many, it wants to be told how many. */
  askFirst(rows) {
    const { dialog } = this;
    const count = rows.length;
    const part = (id) => dialog.querySelector(`#${id}`);
    part("delete-title").textContent = `Delete ${count} episode${count === 1 ? "" : "s"}?`;
    const names = rows.slice(0, SHOWN_NAMES).map(nameOf);
    if (count > SHOWN_NAMES) names.push(`and ${count - SHOWN_NAMES} more`);
    part("delete-names").replaceChildren(
      ...names.map((name) => Object.assign(document.createElement("li"), { textContent: name })),
    );
    const typed = part("delete-count");
    part("delete-typed").hidden = count <= TYPED_ABOVE;
    part("delete-typed").firstElementChild.textContent = `To confirm, type how many: ${count}`;
    typed.required = count > TYPED_ABOVE;
    typed.value = "";
    part("delete-force").checked = false;
    const check = () => (part("delete-confirm").disabled = typed.required && typed.value.trim() !== String(count));
    typed.oninput = check;
    check();
    const ids = this.selection.ids;
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue !== "delete") return;
      this.send("delete", ids, { confirm: String(count), force: String(part("delete-force").checked) });
    };
    dialog.showModal();
  }

  async send(action, ids, fields) {
    const body = new URLSearchParams(fields);
    for (const id of ids) body.append("id", id);
    try {
      const answer = await fetch(`/portal/bulk/${action}`, {
        method: "POST",
        headers: { Accept: "application/json" },
        body,
      });
      const result = await answer.json();
      if (answer.ok) this.done(action, result);
      else this.say(`Nothing was done: ${result.error}.`);
    } catch {
      this.say("Nothing was done, as far as is known: the deployment does not answer.");
    }
  }

  done(action, result) {
    this.markRefused(result.refused);
    for (const row of this.selection.rows) {
      const gone = result.done.includes(row.dataset.episodeId) && action !== "promote";
      if (gone) row.remove();
    }
    this.selection.clear();
    const back = { archive: "restore", restore: "archive" }[action];
    this.say(result.said, back && result.done.length ? () => this.send(back, result.done, {}) : null);
    this.onDone();
  }

  /** An error is where its episode is. */
  markRefused(refused) {
    const reasons = new Map(refused.map(({ id, reason }) => [id, reason]));
    for (const row of this.selection.body.rows) {
      row.querySelector(".row-error")?.remove();
      const reason = reasons.get(row.dataset.episodeId);
      if (!reason) continue;
      const note = document.createElement("span");
      note.className = "reason row-error";
      note.textContent = `Kept: ${reason}`;
      row.querySelector(".cell-name").append(note);
    }
  }

  say(text, undo = null) {
    const paragraph = document.createElement("p");
    paragraph.textContent = text;
    this.said.replaceChildren(paragraph);
    this.said.classList.add("toast");
    this.said.hidden = false;
    if (!undo) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button";
    button.textContent = "Undo";
    button.addEventListener("click", undo, { once: true });
    this.said.append(button);
  }
}
