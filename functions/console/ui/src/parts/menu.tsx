// A button that opens a menu, as in the pattern "Menu Button" of the ARIA Authoring Practices.

import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon } from "./icons";

export interface MenuItem {
  label: string;
  isDestructive?: boolean;
  onSelect(): void;
}

export function Menu({ label, items }: { label: string; items: MenuItem[] }) {
  const id = useId();
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const [isOpen, setOpen] = useState(false);
  /** Whether the menu was open when the pointer went down. The browser closes the menu before the click. */
  const wasOpen = useRef(false);

  // The menu does not move with its button. When the page scrolls or rows above grow, it would be next to another row.
  useEffect(() => {
    if (!isOpen) return;
    const leave = (event: Event) => {
      if (!(event.target instanceof Node && menu.current?.contains(event.target))) menu.current?.hidePopover();
    };
    const { top } = button.current!.getBoundingClientRect();
    const rows = new ResizeObserver(() => button.current?.getBoundingClientRect().top === top || menu.current?.hidePopover());
    rows.observe(document.body);
    addEventListener("scroll", leave, true);
    addEventListener("resize", leave);
    return () => {
      rows.disconnect();
      removeEventListener("scroll", leave, true);
      removeEventListener("resize", leave);
    };
  }, [isOpen]);

  const entries = () => [...(menu.current?.querySelectorAll("button") ?? [])];
  const open = (at: 0 | -1) => {
    const [popover, place] = [menu.current, button.current?.getBoundingClientRect()];
    if (!popover || !place) return;
    popover.showPopover();
    const { offsetWidth: width, offsetHeight: height } = popover;
    const below = place.bottom + height < innerHeight ? place.bottom : Math.max(0, place.top - height);
    popover.style.top = `${below}px`;
    popover.style.left = `${Math.max(0, place.right - width)}px`;
    entries().at(at)?.focus({ preventScroll: true });
  };
  const close = () => {
    menu.current?.hidePopover();
    button.current?.focus();
  };
  const move = (event: KeyboardEvent) => {
    const all = entries();
    const here = all.indexOf(document.activeElement as HTMLButtonElement);
    const targets: Record<string, number> = { ArrowDown: (here + 1) % all.length, ArrowUp: here - 1, Home: 0, End: -1 };
    const target = targets[event.key];
    if (target !== undefined) {
      event.preventDefault();
      all.at(target)?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      close();
    }
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        class="quiet"
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        aria-controls={id}
        onPointerDown={() => (wasOpen.current = isOpen)}
        onClick={() => {
          if (wasOpen.current) close();
          else open(0);
          wasOpen.current = false;
        }}
        onKeyDown={(event) => {
          if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
          event.preventDefault();
          open(event.key === "ArrowDown" ? 0 : -1);
        }}
      >
        <Icon name="dots" />
      </button>
      <div
        ref={menu}
        id={id}
        class="menu"
        popover="auto"
        role="menu"
        aria-label={label}
        onKeyDown={move}
        onToggle={(event) => setOpen(event.newState === "open")}
      >
        {items.map(({ label, isDestructive, onSelect }) => (
          <button
            key={label}
            type="button"
            role="menuitem"
            tabIndex={-1}
            class={isDestructive ? "destructive" : undefined}
            onClick={() => {
              close();
              onSelect();
            }}
          >
            {label}
          </button>
        ))}
      </div>
    </>
  );
}
