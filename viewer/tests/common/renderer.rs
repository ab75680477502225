//! Draws egui's triangles on the CPU, the same on every machine: no graphics driver, integer
//! edges, blending as egui's own renderers do it (premultiplied, in gamma space).

use std::collections::BTreeMap;

use egui::epaint::{ClippedPrimitive, ImageDelta, Primitive, Vertex};
use egui::{Color32, ColorImage, ImageData, TextureFilter, TextureId, TexturesDelta};

/// Steps per pixel in which corners are placed.
const STEPS: i64 = 256;

/// The textures, and what draws with them.
#[derive(Default)]
pub(crate) struct Renderer {
    textures: BTreeMap<TextureId, (ColorImage, TextureFilter)>,
}

impl Renderer {
    /// Takes up changed textures.
    #[expect(clippy::iter_over_hash_type, reason = "each texture on its own")]
    pub(crate) fn update(&mut self, delta: &TexturesDelta) {
        for (id, changes) in &delta.set {
            for change in changes {
                self.set(*id, change);
            }
        }
        for id in &delta.free {
            self.textures.remove(id);
        }
    }

    fn set(&mut self, id: TextureId, change: &ImageDelta) {
        let ImageData::Color(image) = &change.image;
        let Some([left, top]) = change.pos else {
            let kept = (image.as_ref().clone(), change.options.magnification);
            self.textures.insert(id, kept);
            return;
        };
        let (texture, _) = self
            .textures
            .get_mut(&id)
            .expect("a texture before its part");
        let [width, height] = image.size;
        for row in 0..height {
            let to = (top + row) * texture.size[0] + left;
            texture.pixels[to..to + width]
                .copy_from_slice(&image.pixels[row * width..(row + 1) * width]);
        }
    }

    /// Draws `primitives` on a picture of `size` pixels.
    pub(crate) fn draw(
        &self,
        primitives: &[ClippedPrimitive],
        size: [usize; 2],
        pixels_per_point: f32,
    ) -> ColorImage {
        let mut picture = ColorImage::filled(size, Color32::BLACK);
        for ClippedPrimitive {
            clip_rect,
            primitive,
        } in primitives
        {
            let Primitive::Mesh(mesh) = primitive else {
                continue;
            };
            let edge = |points: f32, limit: usize| {
                (points * pixels_per_point).round().clamp(0.0, limit as f32) as i64
            };
            let clip = [
                edge(clip_rect.min.x, size[0]),
                edge(clip_rect.min.y, size[1]),
                edge(clip_rect.max.x, size[0]),
                edge(clip_rect.max.y, size[1]),
            ];
            let Some((texture, filter)) = self.textures.get(&mesh.texture_id) else {
                continue;
            };
            for corners in mesh.indices.chunks_exact(3) {
                let corner = |at: usize| mesh.vertices[corners[at] as usize];
                let triangle = Triangle {
                    corners: [corner(0), corner(1), corner(2)],
                    texture,
                    is_linear: *filter == TextureFilter::Linear,
                };
                triangle.draw(&mut picture, clip, pixels_per_point);
            }
        }
        picture
    }
}

struct Triangle<'a> {
    corners: [Vertex; 3],
    texture: &'a ColorImage,
    is_linear: bool,
}

impl Triangle<'_> {
    fn draw(&self, picture: &mut ColorImage, clip: [i64; 4], pixels_per_point: f32) {
        let place = |points: f32| (points * pixels_per_point * STEPS as f32).round() as i64;
        let mut at = self
            .corners
            .map(|corner| [place(corner.pos.x), place(corner.pos.y)]);
        let mut corners = self.corners;
        let mut area = edge(at[0], at[1], at[2]);
        if area == 0 {
            return;
        }
        if area < 0 {
            at.swap(1, 2);
            corners.swap(1, 2);
            area = -area;
        }
        let span = |axis: usize| {
            let all = at.map(|corner| corner[axis]);
            let low = all.iter().min().expect("three").div_euclid(STEPS);
            let high = all.iter().max().expect("three").div_euclid(STEPS) + 1;
            (low.max(clip[axis]), high.min(clip[axis + 2]))
        };
        let ((left, right), (top, bottom)) = (span(0), span(1));
        // A pixel whose middle is on an edge belongs to one of the two triangles beside it.
        let owns = |a: [i64; 2], b: [i64; 2]| {
            let (x, y) = (b[0] - a[0], b[1] - a[1]);
            i64::from(!(y < 0 || (y == 0 && x > 0)))
        };
        let bias = [owns(at[1], at[2]), owns(at[2], at[0]), owns(at[0], at[1])];
        let is_plain = corners
            .iter()
            .all(|one| one.uv == corners[0].uv && one.color == corners[0].color);
        let plain = is_plain.then(|| self.color(&corners, [1.0, 0.0, 0.0]));
        let sides = [(at[1], at[2]), (at[2], at[0]), (at[0], at[1])];
        // What a step to the right changes.
        let step = sides.map(|(a, b)| (a[1] - b[1]) * STEPS);
        for y in top..bottom {
            let middle = [left * STEPS + STEPS / 2, y * STEPS + STEPS / 2];
            let mut weights = sides.map(|(a, b)| edge(a, b, middle));
            let mut was_inside = false;
            for x in left..right {
                let is_inside = (0..3).all(|one| weights[one] >= bias[one]);
                if is_inside {
                    let color = plain.unwrap_or_else(|| {
                        let shares = weights.map(|weight| weight as f32 / area as f32);
                        self.color(&corners, shares)
                    });
                    let to = &mut picture.pixels[y as usize * picture.size[0] + x as usize];
                    *to = over(color, *to);
                } else if was_inside {
                    break;
                }
                was_inside = is_inside;
                for (weight, step) in weights.iter_mut().zip(step) {
                    *weight += step;
                }
            }
        }
    }

    fn color(&self, corners: &[Vertex; 3], weights: [f32; 3]) -> [f32; 4] {
        let mix = |of: &dyn Fn(&Vertex) -> f32| {
            (0..3)
                .map(|one| of(&corners[one]) * weights[one])
                .sum::<f32>()
        };
        let texel = self.sample(mix(&|corner| corner.uv.x), mix(&|corner| corner.uv.y));
        std::array::from_fn(|channel| {
            let tint = mix(&|corner| f32::from(corner.color.to_array()[channel]));
            tint * texel[channel] / 255.0
        })
    }

    fn sample(&self, u: f32, v: f32) -> [f32; 4] {
        let [width, height] = self.texture.size;
        let (x, y) = (u * width as f32, v * height as f32);
        let texel = |x: i64, y: i64| {
            let x = x.clamp(0, width as i64 - 1) as usize;
            let y = y.clamp(0, height as i64 - 1) as usize;
            self.texture.pixels[y * width + x].to_array().map(f32::from)
        };
        if !self.is_linear {
            return texel(x.floor() as i64, y.floor() as i64);
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (right_share, lower_share) = (x - left, y - top);
        let (left, top) = (left as i64, top as i64);
        let (a, b) = (texel(left, top), texel(left + 1, top));
        let (c, d) = (texel(left, top + 1), texel(left + 1, top + 1));
        std::array::from_fn(|channel| {
            let upper = a[channel] + (b[channel] - a[channel]) * right_share;
            let lower = c[channel] + (d[channel] - c[channel]) * right_share;
            upper + (lower - upper) * lower_share
        })
    }
}

/// Twice the area of the triangle `a`, `b`, `c`.
fn edge(a: [i64; 2], b: [i64; 2], c: [i64; 2]) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

fn over(above: [f32; 4], below: Color32) -> Color32 {
    let below = below.to_array();
    let through = 1.0 - above[3] / 255.0;
    let channel = |at: usize| (above[at] + f32::from(below[at]) * through).round() as u8;
    Color32::from_rgba_premultiplied(channel(0), channel(1), channel(2), 255)
}
