// SPDX-License-Identifier: Apache-2.0
using System;
using System.Drawing;

namespace YoloQ.WinForms.Views
{
    /// <summary>Where a box's label stands: beside the box, inside the picture, and if there is room, on no other.</summary>
    public static class LabelPlaces
    {
        private const int Choices = 10;

        /// <summary>The free place that covers the fewest boxes, of these the first; with none free, the usual one.</summary>
        /// <param name="index">of the label's box</param>
        /// <param name="boxes">with their outlines</param>
        /// <param name="count">how many boxes there are</param>
        /// <param name="bounds">the part of the picture in sight</param>
        /// <param name="places">of the labels before it; empty ones are in nobody's way</param>
        public static Rectangle Find(int index, Rectangle[] boxes, int count, Size label, Rectangle bounds, Rectangle[] places)
        {
            Rectangle box = boxes[index], best = new Rectangle(Into(bounds, box.Left, box.Top - label.Height, label), label);
            int fewest = int.MaxValue;
            for (int choice = 0; choice < Choices && fewest > 0; choice++)
            {
                var place = new Rectangle(Choose(choice, box, label, bounds), label);
                if (!bounds.Contains(place) || Hits(place, places, index) > 0)
                {
                    continue;
                }
                int margin = label.Height / 6; // boxes of one object may differ by a little
                int covered = Hits(Rectangle.Inflate(place, -margin, -margin), boxes, count);
                if (covered < fewest)
                {
                    fewest = covered;
                    best = place;
                }
            }
            return best;
        }

        private static Point Choose(int choice, Rectangle box, Size label, Rectangle bounds)
        {
            int left = Into(bounds, box.Left, 0, label).X, right = Into(bounds, box.Right - label.Width, 0, label).X;
            int above = box.Top - label.Height, below = box.Bottom;
            switch (choice)
            {
                case 0:
                    return new Point(left, above);
                case 1:
                    return new Point(left, below);
                case 2:
                    return new Point(right, above);
                case 3:
                    return new Point(right, below);
                case 4:
                    return new Point(box.Right, Into(bounds, 0, box.Top, label).Y);
                case 5:
                    return new Point(box.Left - label.Width, Into(bounds, 0, box.Top, label).Y);
                case 6:
                    return new Point(left, above - label.Height);
                case 7:
                    return new Point(left, below + label.Height);
                case 8:
                    return Into(bounds, box.Left, box.Top, label); // inside
                default:
                    return Into(bounds, box.Left, box.Bottom - label.Height, label);
            }
        }

        private static Point Into(Rectangle bounds, int x, int y, Size label)
        {
            return new Point(
                Math.Max(bounds.Left, Math.Min(bounds.Right - label.Width, x)),
                Math.Max(bounds.Top, Math.Min(bounds.Bottom - label.Height, y)));
        }

        private static int Hits(Rectangle place, Rectangle[] others, int count)
        {
            int hits = 0;
            for (int i = 0; i < count; i++)
            {
                hits += place.IntersectsWith(others[i]) ? 1 : 0;
            }
            return hits;
        }
    }
}
