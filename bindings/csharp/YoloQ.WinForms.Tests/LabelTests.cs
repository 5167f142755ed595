// SPDX-License-Identifier: Apache-2.0
using System.Drawing;
using System.Linq;
using YoloQ.WinForms.Views;

namespace YoloQ.WinForms.Tests
{
    public static class LabelTests
    {
        private static readonly Rectangle Picture = new Rectangle(100, 0, 400, 300);
        private static readonly Size Label = new Size(70, 20);

        /// <summary>The places of the boxes' labels; an empty box is out of sight and has none.</summary>
        private static Rectangle[] Place(params Rectangle[] boxes)
        {
            var places = new Rectangle[boxes.Length];
            for (int i = 0; i < boxes.Length; i++)
            {
                places[i] = boxes[i].IsEmpty ? boxes[i] : LabelPlaces.Find(i, boxes, boxes.Length, Label, Picture, places);
            }
            return places;
        }

        private static Rectangle Find(Rectangle box, params Rectangle[] others)
        {
            return Place(new[] { box }.Concat(others).ToArray())[0];
        }

        public static void AloneItStandsAboveTheBox()
        {
            Check.Equal(new Rectangle(200, 80, 70, 20), Find(new Rectangle(200, 100, 40, 40)));
        }

        public static void AtTheTopItStandsBelow()
        {
            Check.Equal(new Rectangle(200, 50, 70, 20), Find(new Rectangle(200, 10, 40, 40)));
        }

        public static void AtTheSidesItStaysInThePicture()
        {
            Check.Equal(new Rectangle(430, 80, 70, 20), Find(new Rectangle(480, 100, 15, 15)));
            Check.Equal(new Rectangle(100, 80, 70, 20), Find(new Rectangle(90, 100, 30, 15)));
        }

        public static void ABoxOverTheWholePictureHasItInside()
        {
            Check.Equal(new Rectangle(100, 0, 70, 20), Find(new Rectangle(-500, -500, 2000, 2000)));
        }

        public static void BoxesThatCoincideShowAllTheirLabels()
        {
            foreach (Rectangle box in new[] { new Rectangle(250, 120, 25, 25), new Rectangle(470, 5, 25, 25), new Rectangle(100, 270, 90, 30) })
            {
                Rectangle[] places = Place(box, Rectangle.Empty, box, box).Where(place => !place.IsEmpty).ToArray();
                Check.Equal(3, places.Length);
                for (int i = 0; i < places.Length; i++)
                {
                    Check.True(Picture.Contains(places[i]), places[i] + " leaves the picture");
                    Check.True(!places.Take(i).Any(other => other.IntersectsWith(places[i])), places[i] + " lies on another");
                }
            }
        }

        public static void NeighboursMakeRoomForEachOther()
        {
            Rectangle[] places = Place(new Rectangle(200, 100, 40, 40), new Rectangle(245, 98, 40, 40));
            Check.Equal(new Rectangle(200, 80, 70, 20), places[0]);
            Check.Equal(new Rectangle(245, 138, 70, 20), places[1]);
        }

        public static void ItCoversNoOtherBoxIfThereIsRoom()
        {
            Check.Equal(new Rectangle(200, 140, 70, 20), Find(new Rectangle(200, 100, 40, 40), new Rectangle(220, 60, 40, 30)));
            var around = new Rectangle(150, 20, 300, 250); // in the way wherever it stands
            Check.Equal(new Rectangle(200, 80, 70, 20), Find(new Rectangle(200, 100, 40, 40), around));
        }

        public static void WithoutRoomItStandsWhereItWould()
        {
            Rectangle[] boxes = Enumerable.Repeat(new Rectangle(200, 100, 40, 40), 30).ToArray();
            Check.Equal(new Rectangle(200, 80, 70, 20), Place(boxes).Last());
            var low = new Rectangle(10, 10, 30, 8); // lower than the label
            var box = new[] { new Rectangle(12, 11, 5, 5) };
            Check.Equal(new Rectangle(10, 10, 70, 20), LabelPlaces.Find(0, box, 1, Label, low, new Rectangle[1]));
        }
    }
}
