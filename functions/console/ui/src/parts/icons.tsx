// The page's icons. They are decorative, because text always gives the same information.

const PATHS = {
  chevron: "M9 6l6 6-6 6",
  dots: "M12 4.5a1 1 0 1 0 0 2 1 1 0 1 0 0-2zM12 11a1 1 0 1 0 0 2 1 1 0 1 0 0-2zM12 17.5a1 1 0 1 0 0 2 1 1 0 1 0 0-2z",
  close: "M6 6l12 12M18 6L6 18",
  eye: "M2 12s3.5-6.5 10-6.5S22 12 22 12s-3.5 6.5-10 6.5S2 12 2 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 1 0 0-5z",
  hidden: "M4 4l16 16M9.9 5.8A10 10 0 0 1 12 5.5c6.5 0 10 6.5 10 6.5a17 17 0 0 1-3 3.7M6.3 7.6A16 16 0 0 0 2 12s3.5 6.5 10 6.5a10 10 0 0 0 4-.8",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  key: "M8 11a4 4 0 1 0 0 8 4 4 0 1 0 0-8zM11 12l9-9M16 7l3 3",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
