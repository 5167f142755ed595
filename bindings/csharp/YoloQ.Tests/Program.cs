// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Reflection;
using System.Text;

namespace YoloQ.Tests
{
    /// <summary>Runs every public static method of the classes named ...Tests, a line each: "ok Class.Method" or
    /// "not ok Class.Method: why". Other first words than "test" run one thing for the test driver.</summary>
    internal static class Program
    {
        private static readonly Dictionary<string, Action<string[]>> Commands = new Dictionary<string, Action<string[]>>
        {
            { "test", Test },
            { "abi", Abi.Print },
            { "library", LibraryCommand.Run },
            { "soak", Soak.Run },
            { "bench", Bench.Run }
        };

        private static int _failed;

        private static int Main(string[] arguments)
        {
            CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
            // UTF-8 also where there is no console whose encoding could be set.
            Console.SetOut(new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false)) { AutoFlush = true });
            var rest = new string[arguments.Length - 1];
            Array.Copy(arguments, 1, rest, 0, rest.Length);
            Commands[arguments[0]](rest);
            return _failed == 0 ? 0 : 1;
        }

        /// <summary>FILE [FILTER]: the tests whose names hold FILTER.</summary>
        private static void Test(string[] arguments)
        {
            Given.Read(arguments[0]);
            string filter = arguments.Length > 1 ? arguments[1] : "";
            foreach (Type type in typeof(Program).Assembly.GetTypes())
            {
                if (!type.Name.EndsWith("Tests", StringComparison.Ordinal)) continue;
                foreach (MethodInfo method in type.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly))
                {
                    string name = type.Name + "." + method.Name;
                    if (name.IndexOf(filter, StringComparison.Ordinal) >= 0) RunOne(name, (Action)Delegate.CreateDelegate(typeof(Action), method));
                }
            }
        }

        private static void RunOne(string name, Action test)
        {
            var clock = Stopwatch.StartNew();
            try
            {
                test();
                Console.WriteLine("ok {0} ({1} ms)", name, clock.ElapsedMilliseconds);
            }
            catch (Exception error)
            {
                ++_failed;
                string text = error is CheckFailed ? error.Message : error.ToString();
                Console.WriteLine("not ok {0} ({1} ms): {2}", name, clock.ElapsedMilliseconds, text.Replace("\r", "").Replace("\n", " | "));
            }
        }
    }
}
