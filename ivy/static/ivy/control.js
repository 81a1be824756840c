// The control room's few lines of script. Everything also works without them, except that nothing is told anew.
(() => {
    "use strict";

    // Live parts: asked for while somebody looks, left as they are when nothing is new, and honest when no answer comes.

    const live = (element) => element instanceof Element && element.matches("[data-live]");
    const state = (element) => document.querySelector(`[data-live-state="${element.dataset.live}"]`);

    function tell(element, words) {
        const bad = state(element)?.querySelector(".live-bad");
        if (!bad || bad.dataset.words === words) return;
        bad.dataset.words = words;
        bad.textContent = "";
        element.classList.toggle("is-stale", words !== "");
        state(element).classList.toggle("is-stale", words !== "");
        if (!words) return;
        const since = state(element).querySelector("[data-as-of]").textContent;
        bad.append(`Not updated since ${since}: ${words}`);
        if (words.startsWith("you are logged out")) {
            const link = document.createElement("a");
            link.href = location.href;
            link.textContent = " Log in again";
            bad.append(link);
        }
    }

    document.addEventListener("htmx:configRequest", (event) => {
        if (live(event.detail.elt)) event.detail.parameters.shown = event.detail.elt.dataset.version;
    });

    document.addEventListener("htmx:beforeRequest", (event) => {
        if (live(event.detail.elt) && document.hidden) event.preventDefault();
    });

    // What somebody has opened stays open.
    const opened = (element) => [...element.querySelectorAll("details[id][open]")].map((details) => details.id);

    document.addEventListener("htmx:beforeSwap", (event) => {
        if (live(event.detail.elt)) event.detail.elt.opened = opened(event.detail.elt);
        // An answer from elsewhere (a page to log in, a proxy's) is no part of this page.
        if (live(event.detail.elt) && !event.detail.xhr.getResponseHeader("X-Version")) event.detail.shouldSwap = false;
    });

    document.addEventListener("htmx:afterSwap", (event) => {
        if (live(event.detail.elt)) event.detail.elt.opened?.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
        if (live(event.detail.elt)) lookAtMails(event.detail.elt);
    });

    // Figures of mails that stand in two parts are of one moment: when those here have moved, the others are asked for.
    let mailsSeen = document.querySelector("[data-mails]")?.dataset.mails;

    function lookAtMails(element) {
        const mails = element.querySelector("[data-mails]")?.dataset.mails;
        if (mails === undefined || mails === mailsSeen) return;
        mailsSeen = mails;
        const other = document.querySelector('[data-live="lately"]');
        if (other) htmx.trigger(other, "look");
    }

    document.addEventListener("htmx:afterRequest", (event) => {
        const element = event.detail.elt;
        if (!live(element)) return;
        const version = event.detail.xhr?.getResponseHeader("X-Version");
        if (event.detail.successful && version) {
            element.dataset.version = version;
            state(element).querySelector("[data-as-of]").textContent = event.detail.xhr.getResponseHeader("X-As-Of");
            tell(element, "");
        } else if (event.detail.xhr?.status === 401) {
            tell(element, "you are logged out.");
        } else {
            tell(element, "no answer came. It is asked again by itself; if this stays, see whether the web server runs.");
        }
    });

    document.addEventListener("visibilitychange", () => {
        if (document.hidden) return;
        document.querySelectorAll("[data-live][hx-get]").forEach((element) => htmx.trigger(element, "look"));
    });

    // What takes some seconds to be worked out, and did not come.

    for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
        document.addEventListener(name, (event) => {
            const element = event.detail.elt;
            if (!(element instanceof Element) || !element.matches("[data-worked-out]")) return;
            element.removeAttribute("aria-busy");
            element.textContent = "";
            const words = document.createElement("p");
            words.setAttribute("role", "alert");
            words.append("It could not be worked out just now. Nothing was changed. ");
            const again = document.createElement("a");
            again.href = location.href;
            again.textContent = "Try again";
            words.append(again);
            element.append(words);
        });
    }

    // The page is hidden until Alpine has begun, and nothing hidden takes the focus by itself.
    document.addEventListener("alpine:initialized", () => {
        requestAnimationFrame(() => document.querySelector(".act-form [autofocus]")?.focus());
    });

    // A form that does something is sent once, and says that it is at it.

    document.addEventListener("submit", (event) => {
        const form = event.target;
        if (!form.matches("form.act-form")) return;
        if (form.dataset.isSent) {
            event.preventDefault();
            return;
        }
        form.dataset.isSent = "yes";
        const button = form.querySelector("button[type=submit]");
        if (button) {
            button.dataset.words = button.textContent;
            button.textContent = "At it …";
            button.setAttribute("aria-disabled", "true");
        }
    });

    // Back to a page that the browser kept: its form may be sent again, and the server tells whether it was done.
    window.addEventListener("pageshow", () => {
        document.querySelectorAll("form.act-form[data-is-sent]").forEach((form) => {
            delete form.dataset.isSent;
            const button = form.querySelector("button[type=submit]");
            if (button?.dataset.words) button.textContent = button.dataset.words;
            button?.removeAttribute("aria-disabled");
        });
    });
})();
