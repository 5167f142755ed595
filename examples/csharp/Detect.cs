// SPDX-License-Identifier: Apache-2.0
// Detect PACKAGE PICTURE: prints what is in a picture.
using System;
using System.Drawing;
using YoloQ;

static class Program
{
    static void Main(string[] arguments)
    {
        using (var detector = new Detector(arguments[0]))
        using (var picture = new Bitmap(arguments[1]))
            foreach (Detection found in detector.Detect(picture))
                Console.WriteLine($"{detector.Info.ClassNames[found.ClassId]} {found.Score:0.00} " +
                    $"[{found.X1:0} {found.Y1:0} {found.X2:0} {found.Y2:0}]");
    }
}
