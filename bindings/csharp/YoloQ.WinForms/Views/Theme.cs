// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.Linq;

namespace YoloQ.WinForms.Views
{
    /// <summary>Colours, fonts and measures: the one place that says how the program looks. Used by the UI thread.</summary>
    public static class Theme
    {
        private static readonly string[] FontNames =
        {
            "Microsoft YaHei UI", "Microsoft YaHei", "PingFang SC", "Noto Sans CJK SC", "WenQuanYi Micro Hei"
        };

        private static readonly Dictionary<string, Font> Fonts = new Dictionary<string, Font>();
        private static string _fontName;
        private static float _factor = 1;

        public static bool Dark { get; set; } = true;

        public static Color Window { get { return Pick(0x14181F, 0xEEF1F5); } }
        public static Color Card { get { return Pick(0x1D232D, 0xFFFFFF); } }
        public static Color CardLine { get { return Pick(0x2A323F, 0xDCE2EA); } }
        public static Color Field { get { return Pick(0x272F3B, 0xF1F4F8); } }
        /// <summary>A field's or button's ground, distinct from what is around it.</summary>
        public static Color FieldOn(Color surround)
        {
            return surround == Window ? Pick(0x272F3B, 0xFFFFFF) : Field;
        }

        public static Color FieldHover { get { return Pick(0x323C4B, 0xE3E9F1); } }
        public static Color Canvas { get { return Pick(0x0E1116, 0xDDE2E9); } }
        public static Color Text { get { return Pick(0xE6EAF0, 0x1B2430); } }
        public static Color Muted { get { return Pick(0x8E99A9, 0x647084); } }
        public static Color Faint { get { return Pick(0x5B6676, 0xA3AEBC); } }
        public static Color Accent { get { return Pick(0x3D8BFD, 0x1F6FEB); } }
        public static Color AccentHover { get { return Pick(0x5B9DFF, 0x3E85F0); } }
        public static Color Good { get { return Pick(0x1FA971, 0x14935F); } }
        public static Color Bad { get { return Pick(0xE5484D, 0xD63A40); } }
        public static Color Warn { get { return Pick(0xE0A526, 0xB97F08); } }
        public static Color OnColor { get { return Color.White; } }

        /// <summary>Called once, before the first control: the screen's dots per inch and the user's own wish in percent.</summary>
        public static void SetScale(float dpi, int percent)
        {
            _factor = dpi / 96f * percent / 100f;
        }

        /// <summary>A length that is this many pixels on a screen of 96 dots per inch.</summary>
        public static int Px(float length)
        {
            return (int)Math.Round(length * _factor);
        }

        /// <summary>A shared font with Latin and Chinese glyphs; never dispose it.</summary>
        public static Font Font(float size, bool bold = false)
        {
            string key = size + (bold ? "b" : "");
            Font font;
            if (!Fonts.TryGetValue(key, out font))
            {
                FontStyle style = bold ? FontStyle.Bold : FontStyle.Regular;
                font = new Font(FontName, size * _factor, style, GraphicsUnit.Pixel);
                Fonts[key] = font;
            }
            return font;
        }

        public static Font Body { get { return Font(13); } }
        public static Font Small { get { return Font(12); } }

        /// <summary>The first family that is installed and has Chinese glyphs.</summary>
        public static string FontName
        {
            get
            {
                if (_fontName == null)
                {
                    var installed = new HashSet<string>(FontFamily.Families.Select(family => family.Name));
                    _fontName = FontNames.FirstOrDefault(installed.Contains) ?? SystemFonts.MessageBoxFont.Name;
                }
                return _fontName;
            }
        }

        /// <summary>Far apart for neighbouring numbers, and readable under white text.</summary>
        public static Color ClassColor(int classId)
        {
            double hue = 25 + (classId * 137.508 + 180) % 310; // red is kept for NG
            return FromHsl(hue, 0.68, 0.47);
        }

        public static Color Mix(Color a, Color b, double share)
        {
            return Color.FromArgb(
                (int)(a.R + (b.R - a.R) * share), (int)(a.G + (b.G - a.G) * share), (int)(a.B + (b.B - a.B) * share));
        }

        private static Color Pick(int dark, int light)
        {
            return Color.FromArgb(unchecked((int)0xFF000000) | (Dark ? dark : light));
        }

        private static Color FromHsl(double hue, double saturation, double lightness)
        {
            double a = saturation * Math.Min(lightness, 1 - lightness);
            return Color.FromArgb(Channel(hue, a, lightness, 0), Channel(hue, a, lightness, 8), Channel(hue, a, lightness, 4));
        }

        private static int Channel(double hue, double a, double lightness, int n)
        {
            double k = (n + hue / 30) % 12;
            return (int)Math.Round(255 * (lightness - a * Math.Max(-1, Math.Min(Math.Min(k - 3, 9 - k), 1))));
        }
    }
}
