// The page's icons. They are decoration: what they stand for is always said in words too.

const PATHS = {
  chevron: "M9 6l6 6-6 6",
  dots: "M12 5.500v.01M12 12v.01M12 18.500v.01",
  close: "M6 6l12 12M18 6L6 18",
  eye: "M2 12s3.500-6.500 10-6.500S22 12 22 12s-3.500 6.500-10 6.500S2 12 2 12zM12 9.500a2.500 2.500 0 1 0 0 5 2.500 2.500 0 1 0 0-5z",
  hidden: "M4 4l16 16M9.900 5.800A10 10 0 0 1 12 5.500c6.500 0 10 6.500 10 6.500a17 17 0 0 1-3 3.700M6.300 7.600A16 16 0 0 0 2 12s3.500 6.500 10 6.500a10 10 0 0 0 4-.8",
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
