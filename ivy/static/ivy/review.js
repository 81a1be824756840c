"use strict";
// Keys for who reviews many mails. Everything can be done without: each key follows a link or sets a box that is on the
// page. Nothing is taken from who is writing, or from the browser's own keys.
(() => {
    const isWriting = (element) =>
        element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
    const isBox = (element) => element.tagName === "INPUT" && element.type === "checkbox";

    const rows = () => [...document.querySelectorAll("[data-row]")];

    function go(step) {
        const all = rows();
        if (!all.length) return false;
        const here = all.findIndex((row) => row.contains(document.activeElement));
        const there = here < 0 ? (step > 0 ? 0 : all.length - 1) : here + step;
        const row = all[Math.min(Math.max(there, 0), all.length - 1)];
        row.querySelector("[data-open]").focus();
        row.scrollIntoView({ block: "nearest" });
        return true;
    }

    function choose() {
        const row = rows().find((one) => one.contains(document.activeElement));
        const box = row && row.querySelector("input[type=checkbox]");
        if (!box) return false;
        box.checked = !box.checked;
        return true;
    }

    function follow(key) {
        const link = [...document.querySelectorAll("[data-key]")].find((one) => one.dataset.key.split(" ").includes(key));
        if (!link) return false;
        link.click();
        return true;
    }

    // By script as well: the browser leaves it out where a page was reached by a key.
    const first = document.querySelector(".act-form [autofocus]");
    if (first && document.activeElement === document.body) first.focus();

    document.addEventListener("keydown", (event) => {
        const target = event.target;
        if (event.key === "Enter" && event.ctrlKey && target.tagName === "TEXTAREA" && target.closest(".act-form")) {
            event.preventDefault();
            target.form.requestSubmit();
            return;
        }
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
        if (isWriting(target) && !isBox(target)) return;
        // Arrows scroll what has the focus.
        if (event.key.startsWith("Arrow") && target !== document.body) return;
        const done =
            follow(event.key) ||
            (event.key === "j" && go(1)) ||
            (event.key === "k" && go(-1)) ||
            (event.key === "x" && choose());
        if (done) event.preventDefault();
    });
})();
